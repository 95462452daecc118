//! The table of operators: each one's ONNX name, its loader, and the layers it becomes.
//!
//! # Adding an operator
//! 1. If it computes something new, add a variant of [`Op`](crate::graph::Op) in `graph/op.rs`,
//!    with its shape rule (`Op::output_shape`), its region rule
//!    (`Op::reads`) and whether it works channel by channel. If it is
//!    elementwise and has no parameters, add a variant of [`Activation`](crate::graph::Activation)
//!    instead. The compiler's exhaustiveness check then leads to every place that has to know it:
//!    its kernel in `kernel/`, its cost in `cost/`, how it may be split in `solve/`.
//! 2. Write a loader in `onnx/nodes/`: a function from a node and its inputs to the values of its
//!    outputs. Most loaders call `Import::layer` once. One that only renames or folds adds no
//!    layer, and may be all that is needed.
//! 3. Add a line to [`OPERATORS`] and a case to `deploy/conformance/golden.py`.
//!
//! ```
//! use edgeld_runtime::onnx::operators::OPERATORS;
//! let gemm = OPERATORS.iter().find(|operator| operator.onnx == "Gemm").unwrap();
//! assert_eq!(gemm.becomes, ["conv"]);
//! ```

use super::import::Import;
use super::node::Node;
use super::nodes::{self, Loaded};

/// Loads one node: adds the layers it needs and returns the values of its outputs.
pub(crate) type Load = fn(&mut Import, &Node) -> Loaded;

/// An operator and how it is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Operator {
    /// ONNX's name for it, in its default domain.
    pub onnx: &'static str,
    /// What loads it.
    pub(crate) load: Load,
    /// The layers it becomes, by `Op::name`; none if it is evaluated
    /// while loading or only changes how a tensor is viewed.
    pub becomes: &'static [&'static str],
}

const fn operator(onnx: &'static str, load: Load, becomes: &'static [&'static str]) -> Operator {
    Operator { onnx, load, becomes }
}

/// All operators, sorted by name. An activation, a `BatchNormalization` or a sum with a constant
/// becomes part of the layer before it where possible.
pub const OPERATORS: &[Operator] = &[
    operator("Add", nodes::add, &["add", "conv"]),
    operator("AveragePool", nodes::average_pool, &["average-pool"]),
    operator("BatchNormalization", nodes::batch_normalization, &["conv"]),
    operator("Cast", nodes::cast, &[]),
    operator("Clip", nodes::clip, &["identity"]),
    operator("Concat", nodes::concat, &["concat", "stack", "reorder"]),
    operator("Constant", nodes::constant, &[]),
    operator("ConstantOfShape", nodes::constant_of_shape, &[]),
    operator("Conv", nodes::conv, &["conv"]),
    operator("ConvTranspose", nodes::conv_transpose, &["conv", "depth-to-space"]),
    operator("DepthToSpace", nodes::depth_to_space, &["depth-to-space", "shuffle"]),
    operator("Div", nodes::div, &["conv"]),
    operator("Dropout", nodes::dropout, &[]),
    operator("Flatten", nodes::flatten, &[]),
    operator("Floor", nodes::floor, &[]),
    operator("Gather", nodes::gather, &[]),
    operator("Gemm", nodes::gemm, &["conv"]),
    operator("GlobalAveragePool", nodes::global_average_pool, &["sum-width", "sum-rows"]),
    operator("GlobalMaxPool", nodes::global_max_pool, &["max-pool"]),
    operator("HardSigmoid", nodes::hard_sigmoid, &["identity"]),
    operator("HardSwish", nodes::hard_swish, &["identity"]),
    operator("Identity", nodes::identity, &[]),
    operator("LRN", nodes::lrn, &["lrn"]),
    operator("LeakyRelu", nodes::leaky_relu, &["identity"]),
    operator("MatMul", nodes::matmul, &["conv"]),
    operator("MaxPool", nodes::max_pool, &["max-pool"]),
    operator("Mul", nodes::mul, &["mul", "conv"]),
    operator("PRelu", nodes::prelu, &["identity", "conv", "add"]),
    operator("Pad", nodes::pad, &["conv"]),
    operator("ReduceMean", nodes::reduce_mean, &["sum-width", "sum-rows"]),
    operator("Relu", nodes::relu, &["identity"]),
    operator("Reshape", nodes::reshape, &[]),
    operator("Resize", nodes::resize, &["upsample", "slice"]),
    operator("Shape", nodes::shape, &[]),
    operator("Sigmoid", nodes::sigmoid, &["identity"]),
    operator("Slice", nodes::slice, &["slice"]),
    operator("Softmax", nodes::softmax, &["softmax"]),
    operator("Split", nodes::split, &["slice"]),
    operator("Squeeze", nodes::squeeze, &[]),
    operator("Sub", nodes::sub, &["conv", "add"]),
    operator("Sum", nodes::add, &["add", "conv"]),
    operator("Transpose", nodes::transpose, &["reorder", "shuffle"]),
    operator("Unsqueeze", nodes::unsqueeze, &[]),
    operator("Upsample", nodes::upsample, &["upsample", "slice"]),
];

/// The operator with this ONNX name.
pub(crate) fn by_name(name: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.onnx == name)
}

/// The names of all operators, for messages.
pub(crate) fn supported() -> String {
    OPERATORS.iter().map(|operator| operator.onnx).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(OPERATORS.is_sorted_by(|a, b| a.onnx < b.onnx));
    }
}
