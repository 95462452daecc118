//! Reductions, and indices of extremes.

use super::steps::{Steps, loaded};
use crate::graph::{Curve, Function, Reduce};
use crate::onnx::constant::Element;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::{Node, axis};
use crate::onnx::nodes::loaded::Loaded;

/// A reduction over the axes that a node names, or over all.
fn reduced(import: &mut Import, node: &Node, by: Reduce, opset: i64) -> Loaded {
    let value = node.value(0)?;
    let rank = value.dims().len();
    let axes = node.ints_or_input("axes", 1, opset)?.unwrap_or_default();
    let named = axes.iter().map(|index| Ok(axis(*index, rank)? as u32));
    let mut axes: Vec<u32> = named.collect::<Result<_, Problem>>()?;
    axes.sort_unstable();
    axes.dedup();
    if axes.is_empty() {
        if node.flag("noop_with_empty_axes")? {
            return Ok(vec![value.clone()]);
        }
        axes = (0..rank as u32).collect();
    }
    let kept = kept_dims(node, value, &axes)?;
    let mut steps = Steps::new(import, node);
    let mut result = steps.map(Function::Reduce { by, axes }, value)?;
    if by == Reduce::Mean && !value.element().is_float() {
        result = steps.curve(Curve::Trunc, &result)?;
    }
    loaded(result.reshaped(kept))
}

/// The dimensions of a result without `axes`, or with 1 in their place if `keepdims` says so.
fn kept_dims(node: &Node, value: &Value, axes: &[u32]) -> Result<Vec<u64>, Problem> {
    let keep = node.int("keepdims", 1)? != 0;
    let dims = value.dims().iter().enumerate();
    let gone = |axis: usize| axes.contains(&(axis as u32));
    let dims = dims.filter(|(axis, _)| keep || !gone(*axis));
    Ok(dims.map(|(axis, dim)| if gone(axis) { 1 } else { *dim }).collect())
}

/// Loaders of reductions; the axes are an input from the version behind the name on.
macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident = $by:expr, $opset:expr;)*) => {
        $($(#[$doc])* pub(crate) fn $name(import: &mut Import, node: &Node) -> Loaded {
            reduced(import, node, $by, $opset)
        })*
    };
}

reductions! {
    /// `ReduceSum`.
    reduce_sum = Reduce::Sum, 13;
    /// `ReduceMean`.
    reduce_mean_any = Reduce::Mean, 18;
    /// `ReduceMax`.
    reduce_max = Reduce::Max, 18;
    /// `ReduceMin`.
    reduce_min = Reduce::Min, 18;
    /// `ReduceProd`.
    reduce_prod = Reduce::Prod, 18;
    /// `ReduceL1`.
    reduce_l1 = Reduce::L1, 18;
    /// `ReduceL2`.
    reduce_l2 = Reduce::L2, 18;
    /// `ReduceSumSquare`.
    reduce_sum_square = Reduce::SumSquare, 18;
    /// `ReduceLogSum`.
    reduce_log_sum = Reduce::LogSum, 18;
    /// `ReduceLogSumExp`.
    reduce_log_sum_exp = Reduce::LogSumExp, 18;
}

fn arg_extreme(import: &mut Import, node: &Node, least: bool) -> Loaded {
    let value = node.value(0)?;
    let mut steps = Steps::new(import, node);
    let axis = steps.axis("axis", 0, value)?;
    let last = node.flag("select_last_index")?;
    let function = Function::ArgExtreme { axis, least, last };
    let result = steps.apply(function, &[value], Element::I64)?;
    loaded(result.reshaped(kept_dims(node, value, &[axis])?))
}

/// `ArgMax`.
pub(crate) fn arg_max(import: &mut Import, node: &Node) -> Loaded {
    arg_extreme(import, node, false)
}

/// `ArgMin`.
pub(crate) fn arg_min(import: &mut Import, node: &Node) -> Loaded {
    arg_extreme(import, node, true)
}

/// The mean or maximum of every channel, over all axes behind it.
fn of_channels(import: &mut Import, node: &Node, by: Reduce) -> Loaded {
    let value = node.value(0)?;
    let axes = (2..value.dims().len() as u32).collect();
    loaded(Steps::new(import, node).map(Function::Reduce { by, axes }, value))
}

/// `GlobalAveragePool`.
pub(crate) fn global_average_pool_any(import: &mut Import, node: &Node) -> Loaded {
    of_channels(import, node, Reduce::Mean)
}

/// `GlobalMaxPool`.
pub(crate) fn global_max_pool_any(import: &mut Import, node: &Node) -> Loaded {
    of_channels(import, node, Reduce::Max)
}
