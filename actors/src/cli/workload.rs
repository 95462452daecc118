//! What a run works on: the model, its inputs, the names of its classes.

use std::sync::Arc;

use console::style;
use edgeld::Input;
use edgeld::input::{Origin, normalised, read_labels, takes_pictures};
use edgeld_runtime::cost::graph_flops;
use edgeld_runtime::graph::{Graph, Port, Shape};
use edgeld_runtime::models::{self, Model, OpenError, Options, Preset};
use edgeld_runtime::program::Encoding;
use edgeld_runtime::units::Bytes;

use super::args::{ModelArgs, PictureArgs};
use super::events;
use super::exit::Exit;

/// Opens a model.
///
/// # Errors
/// When it is refused; the message names file, node, operator and reason.
pub fn open(args: &ModelArgs) -> Result<Model, Exit> {
    let input_shape = args.input_shape.as_ref().map(|dims| dims.0.clone());
    models::open(&args.model, &Options { input_shape }).map_err(Exit::from)
}

impl From<OpenError> for Exit {
    fn from(error: OpenError) -> Exit {
        Exit::refused(&error, "`edgeld run --help` says what a model may be")
    }
}

/// The event that tells what was loaded.
pub fn model_event(model: &Model) -> events::Model<'_> {
    fn ports(ports: &[Port]) -> Vec<events::Port<'_>> {
        ports.iter().map(|port| events::Port { name: &port.name, shape: &port.dims }).collect()
    }
    let graph = &model.graph;
    events::Model {
        name: graph.name(),
        source: &model.source,
        inputs: ports(graph.inputs()),
        outputs: ports(graph.outputs()),
        layers: graph.layers().len(),
        gflop: graph_flops(graph).giga(),
        weights_bytes: graph.weights_bytes(),
    }
}

/// What was loaded, for people.
pub fn describe(model: &Model) -> String {
    let graph = &model.graph;
    let shapes = |ports: &[Port]| {
        ports.iter().map(|port| format!("{:?}", port.dims)).collect::<Vec<_>>().join(" ")
    };
    format!(
        "{} ({}): {} to {}; {} layers, {:.2} GFLOP, {} of weights",
        style(graph.name()).for_stderr().bold(),
        model.source,
        shapes(graph.inputs()),
        shapes(graph.outputs()),
        graph.layers().len(),
        graph_flops(graph).giga(),
        Bytes(graph.weights_bytes()),
    )
}

/// All inputs of a run, ready to be sent.
pub struct Workload {
    /// How every input of the graph travels.
    pub encodings: Vec<Encoding>,
    /// By frame: what it is called, and an input for every port.
    pub frames: Vec<(String, Vec<Input>)>,
    /// Names of the classes.
    pub labels: Vec<String>,
}

impl Workload {
    /// The model, with how its inputs travel.
    pub fn source(&self, model: &Model) -> edgeld::Source {
        edgeld::Source {
            graph: Arc::clone(&model.graph),
            weights: Arc::clone(&model.weights),
            encodings: self.encodings.clone(),
        }
    }

    /// Reads inputs; a model with several takes several for every frame.
    ///
    /// # Errors
    /// When one cannot be read or does not fit, their number is no multiple of the model's, or
    /// nobody says how pictures are to be prepared.
    pub fn read(model: &Model, origins: &[Origin], args: &PictureArgs) -> Result<Workload, Exit> {
        let graph = &model.graph;
        let ports = graph.inputs().len();
        if !origins.len().is_multiple_of(ports) {
            return Err(Exit::usage(
                format_args!(
                    "{} inputs were given; the model takes {ports} a frame",
                    origins.len()
                ),
                "give all inputs of the first frame, then all of the second, and so on",
            ));
        }
        let scaling = scaling(model, origins, args)?;
        // A port that is given an array anywhere takes values everywhere: its encoding is one.
        let encodings: Vec<Encoding> = (0..ports)
            .map(|port| match of_port(graph, port) {
                (port_, shape)
                    if takes_pictures(port_, shape)
                        && origins
                            .iter()
                            .skip(port)
                            .step_by(ports)
                            .all(|o| o.is_pixels(port_, shape)) =>
                {
                    scaling
                }
                _ => Encoding::F32,
            })
            .collect();
        let read = |(index, origin): (usize, &Origin)| {
            let (port, shape) = of_port(graph, index);
            let input = origin.read(port, shape, args.crop)?;
            Ok(match encodings[index] {
                Encoding::F32 => normalised(input, scaling),
                Encoding::Pixels { .. } => input,
            })
        };
        let frames = origins
            .chunks(ports)
            .map(|frame| {
                let name = frame.iter().map(Origin::to_string).collect::<Vec<_>>().join(" ");
                let inputs: Result<Vec<Input>, Exit> = frame.iter().enumerate().map(read).collect();
                Ok((name, inputs?))
            })
            .collect::<Result<_, Exit>>()?;
        let labels = args.labels.as_deref().map(read_labels).transpose()?.unwrap_or_default();
        Ok(Workload { encodings, frames, labels })
    }
}

fn of_port(graph: &Graph, index: usize) -> (&Port, Shape) {
    let port = &graph.inputs()[index];
    (port, graph.shape(port.tensor))
}

/// How pixels become what the network wants: as the flags say, else as the model says. Random
/// pixels of a model that says nothing are scaled to 0..1; a picture is then an error.
fn scaling(model: &Model, origins: &[Origin], args: &PictureArgs) -> Result<Encoding, Exit> {
    if let Some(explicit) = args.explicit() {
        return Ok(explicit);
    }
    let named = args.preset.as_deref().map(str::parse::<Preset>).transpose();
    let preset = named.map_err(|error| Exit::usage(error, "see `edgeld run --help`"))?;
    if let Some(preset) = preset.or(model.preset) {
        return Ok(preset.encoding());
    }
    match origins.iter().find(|origin| matches!(origin, Origin::Picture(_))) {
        None => Ok(Preset::Unit.encoding()),
        Some(picture) => Err(Exit::usage(
            format_args!("{picture}: {} does not say how it wants its pixels", model.source),
            "add --preset imagenet, lite, unit or none, whichever it was trained with, or --mean \
             R,G,B --std R,G,B in the 0-255 scale",
        )),
    }
}
