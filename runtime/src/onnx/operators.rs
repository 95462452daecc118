//! The table of operators: each one's ONNX name, its loader, and the layers it becomes.
//!
//! # Adding an operator
//! 1. If it computes something new, add a variant of [`Op`](crate::graph::Op) in `graph/op.rs`,
//!    with its shape rule (`Op::output_shape`), its region rule
//!    (`Op::reads`) and whether it works channel by channel. The compiler's exhaustiveness check
//!    then leads to every place that has to know it: its kernel in `kernel/`, its cost in `cost/`,
//!    how it may be split in `graph/op.rs`. A function of single numbers is a variant of
//!    [`Curve`](crate::graph::Curve) instead, and what is not worth a kernel one of
//!    [`Function`](crate::graph::Function).
//! 2. Write a loader in `onnx/nodes/`, or in `onnx/nodes/general/` for functions: from a node and
//!    its inputs to the values of its outputs. Most loaders call `Import::layer` once. One that only
//!    renames or folds adds no layer, and may be all that is needed. A loader refuses what it does
//!    not compute as ONNX says, integers and further outputs too: only then does the second one,
//!    behind `.or(...)`, take over.
//! 3. Add a line to [`OPERATORS`] and a case to `deploy/conformance/golden.py`. `.elementwise()`
//!    promises that every element of the result depends on one element of each input alone, which
//!    lets transposes wait.
//!
//! ```
//! use edgeld_runtime::onnx::operators::OPERATORS;
//! let gemm = OPERATORS.iter().find(|operator| operator.onnx == "Gemm").unwrap();
//! assert_eq!(gemm.becomes, ["conv"]);
//! ```

use super::import::Import;
use super::node::Node;
use super::nodes::{self, Loaded, general};

/// Loads one node: adds the layers it needs and returns the values of its outputs.
pub(crate) type Load = fn(&mut Import, &Node) -> Loaded;

/// An operator and how it is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Operator {
    /// ONNX's name for it, in its default domain.
    pub onnx: &'static str,
    /// What loads it, as layers that are split if possible.
    pub(crate) load: Load,
    /// What loads it where that refuses, as functions of whole tensors.
    pub(crate) general: Option<Load>,
    /// The layers it becomes, by `Op::name`; none if it is evaluated
    /// while loading or only changes how a tensor is viewed.
    pub becomes: &'static [&'static str],
    /// Whether every element of its result is a function of one element of each input, so that it
    /// may as well be computed before a transpose as after it.
    pub(crate) elementwise: bool,
}

const fn operator(onnx: &'static str, load: Load, becomes: &'static [&'static str]) -> Operator {
    Operator { onnx, load, general: None, becomes, elementwise: false }
}

/// An operator of whole tensors alone.
const fn whole(onnx: &'static str, load: Load) -> Operator {
    operator(onnx, load, &["function"])
}

/// A function of every element.
const fn curve(onnx: &'static str, load: Load) -> Operator {
    operator(onnx, load, &["identity"]).elementwise()
}

impl Operator {
    /// With a loader for what the first one refuses.
    const fn or(self, general: Load) -> Operator {
        Operator { general: Some(general), ..self }
    }

    /// Of single elements, of one or several inputs.
    const fn elementwise(self) -> Operator {
        Operator { elementwise: true, ..self }
    }
}

/// All operators, sorted by name. An activation, a `BatchNormalization` or a sum with a constant
/// becomes part of the layer before it where possible.
pub const OPERATORS: &[Operator] = &[
    curve("Abs", general::abs),
    curve("Acos", general::acos),
    curve("Acosh", general::acosh),
    operator("Add", nodes::add, &["add", "conv"]).or(general::add_any).elementwise(),
    whole("And", general::and).elementwise(),
    whole("ArgMax", general::arg_max),
    whole("ArgMin", general::arg_min),
    curve("Asin", general::asin),
    curve("Asinh", general::asinh),
    curve("Atan", general::atan),
    curve("Atanh", general::atanh),
    operator("AveragePool", nodes::average_pool, &["average-pool"]).or(general::average_pool_any),
    operator("BatchNormalization", nodes::batch_normalization, &["conv"])
        .or(general::batch_normalization_any),
    operator("Cast", nodes::cast, &[]).or(general::cast_any),
    operator("CastLike", general::cast_any, &["identity"]),
    curve("Ceil", general::ceil),
    curve("Celu", general::celu),
    operator("Clip", nodes::clip, &["identity"]).or(general::clip_any).elementwise(),
    operator("Concat", nodes::concat, &["concat", "stack", "reorder"]).or(general::concat_any),
    operator("Constant", nodes::constant, &[]),
    operator("ConstantOfShape", nodes::constant_of_shape, &[]),
    operator("Conv", nodes::conv, &["conv"]).or(general::conv_any),
    whole("ConvInteger", general::conv_integer),
    operator("ConvTranspose", nodes::conv_transpose, &["conv", "depth-to-space", "slice"])
        .or(general::conv_transpose_any),
    curve("Cos", general::cos),
    curve("Cosh", general::cosh),
    whole("CumSum", general::cumulative_sum),
    operator("DepthToSpace", nodes::depth_to_space, &["depth-to-space", "shuffle"])
        .or(general::depth_to_space_any),
    whole("DequantizeLinear", general::dequantize_linear),
    operator("Div", nodes::div, &["conv"]).or(general::div_any).elementwise(),
    operator("Dropout", nodes::dropout, &[]),
    whole("DynamicQuantizeLinear", general::dynamic_quantize_linear),
    whole("Einsum", general::einsum),
    curve("Elu", general::elu),
    whole("Equal", general::equal).elementwise(),
    curve("Erf", general::erf),
    curve("Exp", general::exp),
    whole("Expand", general::expand),
    operator("EyeLike", general::eye_like, &[]),
    operator("Flatten", nodes::flatten, &[]),
    curve("Floor", general::floor),
    whole("GRU", general::gru),
    operator("Gather", nodes::gather, &[]).or(general::gather_any),
    whole("GatherElements", general::gather_elements),
    whole("GatherND", general::gather_nd),
    curve("Gelu", general::gelu),
    operator("Gemm", nodes::gemm, &["conv"]).or(general::gemm_any),
    operator("GlobalAveragePool", nodes::global_average_pool, &["sum-width", "sum-rows"])
        .or(general::global_average_pool_any),
    whole("GlobalLpPool", general::global_lp_pool),
    operator("GlobalMaxPool", nodes::global_max_pool, &["max-pool"])
        .or(general::global_max_pool_any),
    whole("Greater", general::greater).elementwise(),
    whole("GreaterOrEqual", general::greater_or_equal).elementwise(),
    whole("GridSample", general::grid_sample),
    whole("GroupNormalization", general::group_normalization),
    operator("HardSigmoid", nodes::hard_sigmoid, &["identity"]).elementwise(),
    operator("HardSwish", nodes::hard_swish, &["identity"]).elementwise(),
    whole("Hardmax", general::hardmax),
    operator("Identity", nodes::identity, &[]),
    whole("InstanceNormalization", general::instance_normalization),
    curve("IsInf", general::is_inf),
    curve("IsNaN", general::is_nan),
    operator("LRN", nodes::lrn, &["lrn"]).or(general::lrn_any),
    whole("LSTM", general::lstm),
    whole("LayerNormalization", general::layer_normalization),
    operator("LeakyRelu", nodes::leaky_relu, &["identity"]).elementwise(),
    whole("Less", general::less).elementwise(),
    whole("LessOrEqual", general::less_or_equal).elementwise(),
    curve("Log", general::log),
    whole("LogSoftmax", general::log_softmax),
    whole("LpNormalization", general::lp_normalization),
    whole("LpPool", general::lp_pool),
    operator("MatMul", nodes::matmul, &["conv"]).or(general::matmul_any),
    whole("MatMulInteger", general::matmul_integer),
    whole("Max", general::max).elementwise(),
    operator("MaxPool", nodes::max_pool, &["max-pool"]).or(general::max_pool_any),
    whole("Mean", general::mean_of).elementwise(),
    whole("MeanVarianceNormalization", general::mean_variance_normalization),
    whole("Min", general::min).elementwise(),
    curve("Mish", general::mish),
    whole("Mod", general::modulo).elementwise(),
    operator("Mul", nodes::mul, &["mul", "conv"]).or(general::mul_any).elementwise(),
    curve("Neg", general::neg),
    operator("NonZero", general::non_zero, &[]),
    curve("Not", general::not),
    whole("OneHot", general::one_hot),
    whole("Or", general::or).elementwise(),
    operator("PRelu", nodes::prelu, &["identity", "conv", "add"])
        .or(general::prelu_any)
        .elementwise(),
    operator("Pad", nodes::pad, &["conv"]).or(general::pad_any),
    whole("Pow", general::pow).elementwise(),
    whole("QLinearConv", general::qlinear_conv),
    whole("QLinearMatMul", general::qlinear_matmul),
    whole("QuantizeLinear", general::quantize_linear),
    whole("RMSNormalization", general::rms_normalization),
    whole("RNN", general::rnn),
    operator("Range", general::range_of, &[]),
    curve("Reciprocal", general::reciprocal),
    whole("ReduceL1", general::reduce_l1),
    whole("ReduceL2", general::reduce_l2),
    whole("ReduceLogSum", general::reduce_log_sum),
    whole("ReduceLogSumExp", general::reduce_log_sum_exp),
    whole("ReduceMax", general::reduce_max),
    operator("ReduceMean", nodes::reduce_mean, &["sum-width", "sum-rows"])
        .or(general::reduce_mean_any),
    whole("ReduceMin", general::reduce_min),
    whole("ReduceProd", general::reduce_prod),
    whole("ReduceSum", general::reduce_sum),
    whole("ReduceSumSquare", general::reduce_sum_square),
    operator("Relu", nodes::relu, &["identity"]).elementwise(),
    operator("Reshape", nodes::reshape, &[]),
    operator("Resize", nodes::resize, &["upsample", "slice"]).or(general::resize_any),
    whole("RoiAlign", general::roi_align),
    curve("Round", general::round),
    whole("Scatter", general::scatter_elements),
    whole("ScatterElements", general::scatter_elements),
    whole("ScatterND", general::scatter_nd),
    curve("Selu", general::selu),
    operator("Shape", nodes::shape, &[]),
    curve("Shrink", general::shrink),
    operator("Sigmoid", nodes::sigmoid, &["identity"]).elementwise(),
    curve("Sign", general::sign),
    curve("Sin", general::sin),
    curve("Sinh", general::sinh),
    operator("Size", general::size, &[]),
    operator("Slice", nodes::slice, &["slice"]).or(general::slice_any),
    operator("Softmax", nodes::softmax, &["softmax"]).or(general::softmax_any),
    curve("Softplus", general::softplus),
    curve("Softsign", general::softsign),
    operator("SpaceToDepth", general::space_to_depth, &["reorder"]),
    operator("Split", nodes::split, &["slice"]).or(general::split_any),
    curve("Sqrt", general::sqrt),
    operator("Squeeze", nodes::squeeze, &[]),
    operator("Sub", nodes::sub, &["conv", "add"]).or(general::sub_any).elementwise(),
    operator("Sum", nodes::add, &["add", "conv"]).or(general::add_any).elementwise(),
    curve("Tan", general::tan),
    curve("Tanh", general::tanh),
    curve("ThresholdedRelu", general::thresholded_relu),
    whole("Tile", general::tile),
    whole("TopK", general::top_k),
    operator("Transpose", nodes::transpose, &["reorder", "shuffle"]),
    whole("Trilu", general::triangle),
    operator("Unsqueeze", nodes::unsqueeze, &[]),
    operator("Upsample", nodes::upsample, &["upsample", "slice"]).or(general::upsample_any),
    whole("Where", general::select).elementwise(),
    whole("Xor", general::xor).elementwise(),
];

/// The operator with this ONNX name.
pub(crate) fn by_name(name: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.onnx == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(OPERATORS.is_sorted_by(|a, b| a.onnx < b.onnx));
    }
}
