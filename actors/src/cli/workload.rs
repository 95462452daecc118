//! What a run works on: the model, its inputs and class labels.

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
/// When it cannot be used; the message names file, node, operator and reason.
pub fn open(args: &ModelArgs) -> Result<Model, Exit> {
    let input_shape = args.input_shape.as_ref().map(|dims| dims.0.clone());
    models::open(&args.model, &Options { input_shape }).map_err(Exit::from)
}

impl From<OpenError> for Exit {
    fn from(error: OpenError) -> Exit {
        Exit::refused(&error, "see `edgeld run --help` for the models it accepts")
    }
}

/// The event for a loaded model.
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

/// Describes a model in one line.
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

/// All inputs of a run, ready to send.
pub struct Workload {
    /// How each input of the graph is encoded.
    pub encodings: Vec<Encoding>,
    /// By frame: its name, and an input for every port.
    pub frames: Vec<(String, Vec<Input>)>,
    /// Class labels.
    pub labels: Vec<String>,
}

impl Workload {
    /// The model and the encodings of its inputs.
    pub fn source(&self, model: &Model) -> edgeld::Source {
        edgeld::Source {
            graph: Arc::clone(&model.graph),
            weights: Arc::clone(&model.weights),
            encodings: self.encodings.clone(),
        }
    }

    /// Reads the inputs of all frames. A model with several inputs takes that many per frame.
    ///
    /// # Errors
    /// When an input cannot be read or does not fit, when their number is not a multiple of the
    /// model's, or when the preprocessing of pictures is unknown.
    pub fn read(model: &Model, origins: &[Origin], args: &PictureArgs) -> Result<Workload, Exit> {
        let graph = &model.graph;
        let ports = graph.inputs().len();
        if !origins.len().is_multiple_of(ports) {
            return Err(Exit::usage(
                format_args!(
                    "{} inputs given, but the model takes {ports} per frame",
                    origins.len()
                ),
                "give all inputs of the first frame, then all of the second, and so on",
            ));
        }
        let scaling = scaling(model, origins, args)?;
        // A port has one encoding for all frames: if any frame gives it an array, it takes values.
        let encodings: Vec<Encoding> = (0..ports)
            .map(|index| {
                let (port, shape) = port_and_shape(graph, index);
                let mut inputs = origins.iter().skip(index).step_by(ports);
                match takes_pictures(port, shape)
                    && inputs.all(|input| input.is_pixels(port, shape))
                {
                    true => scaling,
                    false => Encoding::F32,
                }
            })
            .collect();
        let read = |(index, origin): (usize, &Origin)| {
            let (port, shape) = port_and_shape(graph, index);
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

fn port_and_shape(graph: &Graph, index: usize) -> (&Port, Shape) {
    let port = &graph.inputs()[index];
    (port, graph.shape(port.tensor))
}

/// How to normalise pixels: as the flags say, else as the model says. If neither does, random pixels
/// are scaled to 0..1, and a picture is an error.
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
            format_args!("{picture}: {} does not specify how to normalise pixels", model.source),
            "add the --preset it was trained with (imagenet, lite, unit or none), or --mean R,G,B \
             --std R,G,B on the 0-255 scale",
        )),
    }
}
