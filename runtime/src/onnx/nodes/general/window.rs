//! Convolutions and pools of any rank, with weights that are computed, in batches.

use super::steps::{Steps, along, attribute, channels, loaded};
use crate::graph::{Aggregate, Binary, Function, Reduce, Windows};
use crate::onnx::constant::Element;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::Node;
use crate::onnx::nodes::loaded::Loaded;
use crate::onnx::nodes::window::{groups, numbers, transposed_windows, windows};

/// The lengths of the axes behind batch and channels.
fn lens(value: &Value) -> Result<&[u64], Problem> {
    value.dims().get(2..).filter(|lens| !lens.is_empty()).ok_or_else(|| Problem::Dims {
        dims: value.dims().to_vec(),
        wanted: "batch x channels x rows x ... are needed".to_owned(),
    })
}

/// The window of weights, behind their first two dimensions.
fn kernel(weights: &Value) -> Result<Vec<u32>, Problem> {
    lens(weights)?
        .iter()
        .map(|len| u32::try_from(*len).map_err(|_| attribute("kernel_shape", "small")))
        .collect()
}

/// With a summand per channel, if there is one.
fn with_bias(steps: &mut Steps, value: Value, bias: Option<&Value>) -> Result<Value, Problem> {
    let Some(bias) = bias else { return Ok(value) };
    let (rank, channels) = (value.dims().len(), channels(&value)?);
    let bias = bias.reshaped(along(1, rank, channels))?;
    steps.binary(Binary::Add, &value, &bias)
}

/// `Conv` over any axes, by any weights.
pub(crate) fn conv_any(import: &mut Import, node: &Node) -> Loaded {
    let (value, weights) = (node.value(0)?, node.value(1)?);
    let mut windows = windows(node, lens(value)?, kernel(weights)?)?;
    windows.groups = groups(node)?;
    let mut steps = Steps::new(import, node);
    let result = steps.apply(Function::Conv(windows), &[value, weights], value.element())?;
    loaded(with_bias(&mut steps, result, node.inputs().get(2).and_then(Option::as_ref)))
}

/// `ConvTranspose` with any window.
pub(crate) fn conv_transpose_any(import: &mut Import, node: &Node) -> Loaded {
    let (value, weights) = (node.value(0)?, node.value(1)?);
    let (mut windows, extra) = transposed_windows(node, lens(value)?, kernel(weights)?)?;
    windows.groups = groups(node)?;
    let mut steps = Steps::new(import, node);
    let function = Function::ConvTranspose { windows, extra };
    let result = steps.apply(function, &[value, weights], value.element())?;
    loaded(with_bias(&mut steps, result, node.inputs().get(2).and_then(Option::as_ref)))
}

fn pool(import: &mut Import, node: &Node, by: Aggregate) -> Result<(Value, Windows), Problem> {
    let value = node.value(0)?;
    let lens = lens(value)?;
    let kernel = numbers(node, "kernel_shape", lens.len(), 1)?;
    let kernel = kernel.ok_or_else(|| attribute("kernel_shape", "given"))?;
    let windows = windows(node, lens, kernel)?;
    let function = Function::Pool { by, windows: windows.clone() };
    Ok((Steps::new(import, node).map(function, value)?, windows))
}

/// `MaxPool` over any axes, with indices.
pub(crate) fn max_pool_any(import: &mut Import, node: &Node) -> Loaded {
    let (result, windows) = pool(import, node, Aggregate::Max)?;
    if node.outputs() < 2 {
        return Ok(vec![result]);
    }
    let by = Aggregate::Index { column_major: node.flag("storage_order")? };
    let function = Function::Pool { by, windows };
    let indices = Steps::new(import, node).apply(function, &[node.value(0)?], Element::I64)?;
    Ok(vec![result, indices])
}

/// `AveragePool` over any axes.
pub(crate) fn average_pool_any(import: &mut Import, node: &Node) -> Loaded {
    let padded = node.flag("count_include_pad")?;
    Ok(vec![pool(import, node, Aggregate::Average { padded })?.0])
}

fn power(node: &Node) -> Result<u32, Problem> {
    let p = u32::try_from(node.int("p", 2)?).ok().filter(|p| (1..=64).contains(p));
    p.ok_or_else(|| attribute("p", "an integer from 1 to 64"))
}

/// `LpPool`.
pub(crate) fn lp_pool(import: &mut Import, node: &Node) -> Loaded {
    Ok(vec![pool(import, node, Aggregate::Lp { p: power(node)? })?.0])
}

/// `GlobalLpPool`.
pub(crate) fn global_lp_pool(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let axes: Vec<u32> = (2..value.dims().len() as u32).collect();
    let mut steps = Steps::new(import, node);
    loaded(match power(node)? {
        1 => steps.map(Function::Reduce { by: Reduce::L1, axes }, value),
        2 => steps.map(Function::Reduce { by: Reduce::L2, axes }, value),
        p => {
            let size = steps.curve(crate::graph::Curve::Abs, value)?;
            let powers = steps.scalar(Binary::Pow, &size, p as f32)?;
            let sum = steps.map(Function::Reduce { by: Reduce::Sum, axes }, &powers)?;
            steps.scalar(Binary::Pow, &sum, 1.0 / p as f32)
        }
    })
}
