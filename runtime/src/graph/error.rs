//! Why a graph cannot be built.

use super::shape::Shape;
use super::window::Window;

/// No tensor may have more elements (4 GB of float32): a bound on what a file can claim.
pub(super) const MAX_ELEMENTS: u64 = 1 << 30;

/// Why an operator refuses its inputs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GeometryError {
    /// Too few or too many inputs.
    #[error("{op} does not take {found} inputs")]
    InputCount {
        /// The operator.
        op: &'static str,
        /// How many inputs it was given.
        found: usize,
    },
    /// Groups that do not divide the channels.
    #[error(
        "{groups} groups do not divide {channels} input channels and {features} output channels"
    )]
    Groups {
        /// Number of groups.
        groups: u32,
        /// Input channels.
        channels: u32,
        /// Output channels.
        features: u32,
    },
    /// A window that does not fit on its input.
    #[error("the window {window:?} does not fit on an input of {input}")]
    Window {
        /// The window.
        window: Window,
        /// The input.
        input: Shape,
    },
    /// Inputs that should have one shape.
    #[error("{op} cannot join {a} and {b}")]
    Differ {
        /// The operator.
        op: &'static str,
        /// One input.
        a: Shape,
        /// An input that does not match it.
        b: Shape,
    },
    /// A map where a vector is needed.
    #[error("{op} takes a vector, not {input}")]
    NotAVector {
        /// The operator.
        op: &'static str,
        /// What it was given.
        input: Shape,
    },
    /// A slice or an order of elements that does not fit the map.
    #[error("{op} does not fit on an input of {input}")]
    Misfit {
        /// The operator.
        op: &'static str,
        /// What it was given.
        input: Shape,
    },
    /// Dimensions that do not fit a function or each other.
    #[error("{op} does not take inputs of {dims:?}, or makes none or over 2^30 elements of them")]
    Dims {
        /// The function.
        op: &'static str,
        /// The dimensions of each input.
        dims: Vec<Vec<u32>>,
    },
    /// More channels than can be counted.
    #[error("the result is too large")]
    TooLarge,
}

/// Why a graph cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// An operator refuses its inputs.
    #[error("layer {layer}: {source}")]
    Layer {
        /// Which layer.
        layer: String,
        /// Why.
        source: GeometryError,
    },
    /// A tensor or parameter that is empty or too large.
    #[error("{name} has {elements} elements; 1 to {MAX_ELEMENTS} are supported")]
    Size {
        /// Which.
        name: String,
        /// Its size.
        elements: u64,
    },
    /// A model's own dimensions that do not fit the tensor.
    #[error("{name}: the dimensions {dims:?} do not hold the elements of {shape}")]
    Dims {
        /// Which port.
        name: String,
        /// The model's dimensions.
        dims: Vec<u64>,
        /// The tensor's shape.
        shape: Shape,
    },
    /// A parameter whose size does not fit its layer.
    #[error(
        "layer {layer}: {parameter} has {} x {} elements, {} x {} are needed",
        found.0, found.1, wanted.0, wanted.1
    )]
    Parameter {
        /// Which layer.
        layer: String,
        /// Which parameter.
        parameter: String,
        /// Its features and elements per feature.
        found: (u32, u32),
        /// What the layer needs.
        wanted: (u32, u64),
    },
    /// Two layers with the same name.
    #[error("two layers are named {name}")]
    SameName {
        /// The name.
        name: String,
    },
    /// Any other contradiction.
    #[error("inconsistent graph: {0}")]
    Inconsistent(&'static str),
}
