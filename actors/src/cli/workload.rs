//! What a run works on: the model and its inputs.

use std::path::PathBuf;
use std::sync::Arc;

use console::style;
use edgeld::Input;
use edgeld::input::{
    Framing, Origin, Placement, array_shape, channels_last, normalised, takes_channels_last,
    takes_pictures,
};
use edgeld_runtime::cost::graph_flops;
use edgeld_runtime::graph::{Graph, Port, Shape};
use edgeld_runtime::models::{self, Model, OpenError, Preset};
use edgeld_runtime::onnx::{OnnxError, Problem};
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
    models::open(&args.model, &args.options()).map_err(Exit::from)
}

/// Opens a model for these inputs: an array also fixes dimensions that the file and the flags leave
/// open.
///
/// # Errors
/// As [`open`].
pub fn open_for(args: &ModelArgs, origins: &[Origin]) -> Result<Model, Exit> {
    let mut options = args.options();
    let opened = models::open(&args.model, &options);
    match (&opened, origins.first()) {
        (Err(OpenError::File(OnnxError::Port { problem, .. })), Some(Origin::Array(path)))
            if matches!(**problem, Problem::Dynamic { .. }) =>
        {
            options.input_shapes.any = Some(array_shape(path)?);
            models::open(&args.model, &options).map_err(Exit::from)
        }
        _ => opened.map_err(Exit::from),
    }
}

impl From<OpenError> for Exit {
    fn from(error: OpenError) -> Exit {
        let hint = match &error {
            OpenError::File(OnnxError::Node { .. }) => {
                "`edgeld inspect MODEL` lists everything of it that is not supported"
            }
            _ => "see `edgeld run --help` for the models it accepts",
        };
        Exit::refused(&error, hint)
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
    /// All frames.
    pub frames: Vec<FrameInputs>,
}

/// What a frame consists of.
pub struct FrameInputs {
    /// Its name.
    pub name: String,
    /// An input for every port.
    pub inputs: Vec<Input>,
    /// The pictures among them, and where they are in the model's input.
    pub pictures: Vec<(PathBuf, Placement)>,
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
    pub fn read(
        model: &Model,
        origins: &[Origin],
        args: &PictureArgs,
        framing: Framing,
    ) -> Result<Workload, Exit> {
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
        let frames = origins.chunks(ports).map(|origins| {
            let name = origins.iter().map(Origin::to_string).collect::<Vec<_>>().join(" ");
            let (mut inputs, mut pictures) = (Vec::new(), Vec::new());
            for (index, origin) in origins.iter().enumerate() {
                let (port, shape) = port_and_shape(graph, index);
                let (input, placement) = origin.read(port, shape, framing)?;
                let is_turned = takes_channels_last(port) && matches!(input, Input::Pixels(_));
                let input = match encodings[index] {
                    Encoding::F32 => normalised(input, scaling),
                    Encoding::Pixels { .. } => input,
                };
                inputs.push(if is_turned { channels_last(input) } else { input });
                if let (Origin::Picture(path), Some(placement)) = (origin, placement) {
                    pictures.push((path.clone(), placement));
                }
            }
            Ok(FrameInputs { name, inputs, pictures })
        });
        let frames = frames.collect::<Result<_, Exit>>()?;
        Ok(Workload { encodings, frames })
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
