//! A model: a DAG of layers with static shapes.
//!
//! Layers are in topological order, and each has one output tensor. Tensors are numbered: first
//! the graph's inputs, then the layers' outputs, in order. A [`Builder`] builds a graph and applies
//! every operator's shape rule. A graph that comes from elsewhere (the wire, a cache) is rebuilt in
//! the same way, so a [`Graph`] is always consistent.
//!
//! ```
//! use edgeld_runtime::graph::{Activation, Builder, Op, Shape};
//! let mut builder = Builder::new("doubled");
//! let input = builder.input("x", Shape::new(3, 8, 8), vec![1, 3, 8, 8]).unwrap();
//! let sum = builder.layer("sum", Op::Add, &[input, input], Activation::Relu).unwrap();
//! builder.output("y", sum, vec![1, 3, 8, 8]).unwrap();
//! let graph = builder.finish().unwrap();
//! assert_eq!(graph.shape(sum), Shape::new(3, 8, 8));
//! ```

mod activation;
mod curve;
mod error;
mod general;
mod ids;
mod lrn;
mod op;
mod packed;
mod reach;
mod rearrange;
mod shape;
mod window;
mod winograd;

use serde::{Deserialize, Serialize};

pub use activation::Activation;
pub use curve::Curve;
pub use error::{GeometryError, GraphError};
pub use general::{
    Aggregate, Binary, Cell, Combine, Coordinates, Dims, Direction, Einsum, Function, General,
    Interpolation, MAX_AXES, Nearest, PadMode, Recurrent, Reduce, Resize, RoiAlign, Sample, Stride,
    Windows,
};
pub use ids::{LayerId, ParameterId, TensorId};
pub use lrn::Lrn;
pub use op::{Constant, Conv, Op, Pool, Reduction, Split};
pub use packed::{BlockId, Form};
pub(crate) use reach::Reach;
pub use rearrange::{Pick, Reorder, Slice};
pub use shape::Shape;
pub use window::{Sweep, Window};
pub use winograd::Tile;
pub(crate) use winograd::TiledWork;

use error::MAX_ELEMENTS;

/// How elements are stored or travel; always little-endian. Kernels compute in float32.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum DType {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// IEEE 754 binary16: half the bytes, eleven bits of precision, at most 65504.
    F16,
}

impl DType {
    /// Bytes of one element.
    pub(crate) const fn size(self) -> u64 {
        match self {
            DType::F32 => 4,
            DType::F16 => 2,
        }
    }
}

/// Weights of a layer, stored output-feature-major: `features` rows of `row` elements. A share
/// needs a range of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name, for messages.
    pub name: String,
    /// Number of rows: output features.
    pub features: u32,
    /// Elements of one row.
    pub row: u32,
    /// How elements are stored.
    pub dtype: DType,
}

impl Parameter {
    /// Bytes of one row.
    pub const fn row_bytes(&self) -> u64 {
        self.row as u64 * self.dtype.size()
    }

    /// Bytes of all rows.
    pub(crate) const fn bytes(&self) -> u64 {
        self.row_bytes() * self.features as u64
    }
}

/// One step of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Unique within the graph; the name of the ONNX node, if there is one.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<TensorId>,
    /// Applied to its result.
    pub activation: Activation,
}

/// A graph's input or output, with the dimensions that the model itself gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The model's name for it.
    pub name: String,
    /// Which tensor.
    pub tensor: TensorId,
    /// The model's own dimensions, including the batch: `[1, 3, 224, 224]`, `[1, 1000]`.
    pub dims: Vec<u64>,
}

/// A model without its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Blueprint")]
pub struct Graph {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    layers: Vec<Layer>,
    parameters: Vec<Parameter>,
    #[serde(skip)]
    shapes: Vec<Shape>,
    #[serde(skip)]
    read_shapes: Vec<Vec<Shape>>,
    input_shapes: Vec<Shape>,
}

/// A graph as stored: not checked yet.
#[derive(Deserialize)]
struct Blueprint {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    layers: Vec<Layer>,
    parameters: Vec<Parameter>,
    input_shapes: Vec<Shape>,
}

impl TryFrom<Blueprint> for Graph {
    type Error = GraphError;

    fn try_from(blueprint: Blueprint) -> Result<Graph, GraphError> {
        let mut builder = Builder::new(&blueprint.name);
        for parameter in blueprint.parameters {
            builder.parameter(parameter)?;
        }
        if blueprint.inputs.len() != blueprint.input_shapes.len() {
            return Err(GraphError::Inconsistent("inputs and their shapes differ in number"));
        }
        for (port, shape) in blueprint.inputs.into_iter().zip(blueprint.input_shapes) {
            let tensor = builder.input(&port.name, shape, port.dims)?;
            if tensor != port.tensor {
                return Err(GraphError::Inconsistent("inputs are not the first tensors"));
            }
        }
        for layer in blueprint.layers {
            builder.layer(&layer.name, layer.op, &layer.inputs, layer.activation)?;
        }
        for port in blueprint.outputs {
            builder.output(&port.name, port.tensor, port.dims)?;
        }
        builder.finish()
    }
}

impl Graph {
    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its inputs.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Its outputs.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// All layers, in topological order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// One layer.
    pub fn layer(&self, layer: LayerId) -> &Layer {
        &self.layers[layer.index()]
    }

    /// The ids of all layers, in topological order.
    pub fn layer_ids(&self) -> impl DoubleEndedIterator<Item = LayerId> + ExactSizeIterator {
        (0..self.layers.len() as u32).map(LayerId)
    }

    /// All parameters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// One parameter.
    pub fn parameter(&self, parameter: ParameterId) -> &Parameter {
        &self.parameters[parameter.index()]
    }

    /// Number of tensors: inputs and layer outputs.
    pub fn tensor_count(&self) -> usize {
        self.shapes.len()
    }

    /// The shape of a tensor.
    pub fn shape(&self, tensor: TensorId) -> Shape {
        self.shapes[tensor.index()]
    }

    /// The output tensor of a layer.
    pub fn output_of(&self, layer: LayerId) -> TensorId {
        TensorId(self.inputs.len() as u32 + layer.0)
    }

    /// The layer whose output a tensor is; `None` for the graph's inputs.
    pub(crate) fn producer(&self, tensor: TensorId) -> Option<LayerId> {
        tensor.0.checked_sub(self.inputs.len() as u32).map(LayerId)
    }

    /// The shapes of a layer's inputs.
    pub fn input_shapes(&self, layer: LayerId) -> &[Shape] {
        &self.read_shapes[layer.index()]
    }

    /// The shape of a layer's output.
    pub fn output_shape(&self, layer: LayerId) -> Shape {
        self.shape(self.output_of(layer))
    }

    /// Whether a tensor is one of the graph's outputs.
    pub(crate) fn is_output(&self, tensor: TensorId) -> bool {
        self.outputs.iter().any(|port| port.tensor == tensor)
    }

    /// Bytes of all weights as stored.
    pub fn weights_bytes(&self) -> u64 {
        self.parameters.iter().map(Parameter::bytes).sum()
    }
}

/// Builds a [`Graph`], layer by layer in topological order.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
}

impl Builder {
    /// Starts a graph.
    pub fn new(name: &str) -> Builder {
        Builder {
            graph: Graph {
                name: name.to_owned(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                layers: Vec::new(),
                parameters: Vec::new(),
                shapes: Vec::new(),
                read_shapes: Vec::new(),
                input_shapes: Vec::new(),
            },
        }
    }

    /// The shape of a tensor that has been added.
    pub fn shape(&self, tensor: TensorId) -> Shape {
        self.graph.shape(tensor)
    }

    /// Adds an input; all inputs come before the first layer. `dims` are the model's own
    /// dimensions.
    ///
    /// # Errors
    /// When a layer has been added already, the shape is empty or too large, or `dims` do not
    /// multiply to its number of elements.
    pub fn input(
        &mut self,
        name: &str,
        shape: Shape,
        dims: Vec<u64>,
    ) -> Result<TensorId, GraphError> {
        if !self.graph.layers.is_empty() {
            return Err(GraphError::Inconsistent("an input after a layer"));
        }
        check_size(name, shape)?;
        check_dims(name, shape, &dims)?;
        let tensor = self.push(shape);
        self.graph.inputs.push(Port { name: name.to_owned(), tensor, dims });
        self.graph.input_shapes.push(shape);
        Ok(tensor)
    }

    /// Adds a parameter.
    ///
    /// # Errors
    /// When it is empty or too large.
    pub fn parameter(&mut self, parameter: Parameter) -> Result<ParameterId, GraphError> {
        let elements = u64::from(parameter.features) * u64::from(parameter.row);
        if elements == 0 || elements > MAX_ELEMENTS {
            return Err(GraphError::Size { name: parameter.name, elements });
        }
        self.graph.parameters.push(parameter);
        Ok(ParameterId(self.graph.parameters.len() as u32 - 1))
    }

    /// Adds a layer and returns its output.
    ///
    /// # Errors
    /// When an input does not exist yet, the operator refuses its inputs, or a parameter is missing
    /// or of the wrong size.
    pub fn layer(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[TensorId],
        activation: Activation,
    ) -> Result<TensorId, GraphError> {
        if inputs.iter().any(|tensor| tensor.index() >= self.graph.shapes.len()) {
            return Err(GraphError::Inconsistent("a layer reads a tensor that does not exist yet"));
        }
        let shapes: Vec<Shape> = inputs.iter().map(|tensor| self.shape(*tensor)).collect();
        let shape = op
            .output_shape(&shapes)
            .map_err(|source| GraphError::Layer { layer: name.to_owned(), source })?;
        check_size(name, shape)?;
        if let Op::Conv(conv) = &op {
            let row =
                u64::from(shapes[0].channels / conv.groups).saturating_mul(conv.window.cells());
            self.check_parameter(name, conv.weight, conv.features, row)?;
            for parameter in [conv.scale, conv.bias].into_iter().flatten() {
                self.check_parameter(name, parameter, conv.features, 1)?;
            }
        }
        if let Op::Constant(constant) = &op {
            let row = u64::from(shape.rows) * u64::from(shape.width);
            self.check_parameter(name, constant.value, shape.channels, row)?;
        }
        self.graph.layers.push(Layer {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
            activation,
        });
        self.graph.read_shapes.push(shapes);
        Ok(self.push(shape))
    }

    /// Declares a tensor an output. `dims` are the model's own dimensions.
    ///
    /// # Errors
    /// When the tensor does not exist or `dims` do not multiply to its number of elements.
    pub fn output(
        &mut self,
        name: &str,
        tensor: TensorId,
        dims: Vec<u64>,
    ) -> Result<(), GraphError> {
        if tensor.index() >= self.graph.shapes.len() {
            return Err(GraphError::Inconsistent("an output that does not exist"));
        }
        check_dims(name, self.shape(tensor), &dims)?;
        self.graph.outputs.push(Port { name: name.to_owned(), tensor, dims });
        Ok(())
    }

    /// Finishes the graph.
    ///
    /// # Errors
    /// When it has no input, no output or no layer, or two layers share a name.
    pub fn finish(self) -> Result<Graph, GraphError> {
        let graph = self.graph;
        if graph.inputs.is_empty() || graph.outputs.is_empty() || graph.layers.is_empty() {
            return Err(GraphError::Inconsistent("a graph needs an input, a layer and an output"));
        }
        let mut names: Vec<&str> = graph.layers.iter().map(|layer| layer.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(GraphError::SameName { name: pair[0].to_owned() });
        }
        Ok(graph)
    }

    fn push(&mut self, shape: Shape) -> TensorId {
        self.graph.shapes.push(shape);
        TensorId(self.graph.shapes.len() as u32 - 1)
    }

    fn check_parameter(
        &self,
        layer: &str,
        id: ParameterId,
        features: u32,
        row: u64,
    ) -> Result<(), GraphError> {
        match self.graph.parameters.get(id.index()) {
            None => Err(GraphError::Inconsistent("a layer reads a parameter that does not exist")),
            Some(found) if found.features == features && u64::from(found.row) == row => Ok(()),
            Some(found) => Err(GraphError::Parameter {
                layer: layer.to_owned(),
                parameter: found.name.clone(),
                found: (found.features, found.row),
                wanted: (features, row),
            }),
        }
    }
}

fn check_size(name: &str, shape: Shape) -> Result<(), GraphError> {
    let elements = shape.checked_elements().unwrap_or(u64::MAX);
    if elements == 0 || elements > MAX_ELEMENTS {
        return Err(GraphError::Size { name: name.to_owned(), elements });
    }
    Ok(())
}

fn check_dims(name: &str, shape: Shape, dims: &[u64]) -> Result<(), GraphError> {
    let product = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
    if product != Some(shape.elements()) {
        return Err(GraphError::Dims { name: name.to_owned(), dims: dims.to_vec(), shape });
    }
    Ok(())
}
