//! Quantised operators, computed in float32: integers of eight bits and their products are exact
//! there, and sums of products as long as they stay below 2^24.

use super::linear::product;
use super::steps::{Steps, along, loaded};
use super::window::conv_any;
use crate::graph::{Binary, Curve, Function, Reduce};
use crate::onnx::constant::Element;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::{Node, axis};
use crate::onnx::nodes::{conv, loaded::Loaded};

/// A scale or zero point as it aligns with a value: a single number, or one for each index along
/// an axis.
fn aligned(numbers: &Value, value: &Value, axis: usize) -> Result<Value, Problem> {
    let rank = value.dims().len();
    match numbers.dims() {
        [] | [1] => numbers.reshaped(Vec::new()),
        [len] if rank > 0 => numbers.reshaped(along(axis.min(rank - 1), rank, *len)),
        dims if dims.len() == rank => Ok(numbers.clone()),
        dims => Err(Problem::Dims {
            dims: dims.to_vec(),
            wanted: "a number, or one along an axis, is needed".to_owned(),
        }),
    }
}

fn given<'a>(node: &'a Node, index: usize) -> Option<&'a Value> {
    node.inputs().get(index).and_then(Option::as_ref)
}

/// value - zero, which may be less than the type of both can hold.
fn without_zero(
    steps: &mut Steps,
    value: &Value,
    zero: &Value,
    axis: usize,
) -> Result<Value, Problem> {
    let zero = aligned(zero, value, axis)?;
    steps.apply(Function::Binary(Binary::Sub), &[value, &zero], Element::I32)
}

/// (value - zero) scale.
fn dequantized(
    steps: &mut Steps,
    value: &Value,
    scale: &Value,
    zero: Option<&Value>,
    axis: usize,
) -> Result<Value, Problem> {
    let mut result = value.clone();
    if let Some(zero) = zero {
        result = without_zero(steps, &result, zero, axis)?;
    }
    let scale = aligned(scale, value, axis)?;
    steps.apply(Function::Binary(Binary::Mul), &[&result, &scale], Element::F32)
}

/// round(value / scale) + zero, within the bounds of type `to`.
fn quantized(
    steps: &mut Steps,
    value: &Value,
    scale: &Value,
    zero: Option<&Value>,
    axis: usize,
    to: Element,
) -> Result<Value, Problem> {
    let result = steps.binary(Binary::Div, value, &aligned(scale, value, axis)?)?;
    let mut result = steps.curve(Curve::Round, &result)?;
    if let Some(zero) = zero {
        result = steps.binary(Binary::Add, &result, &aligned(zero, value, axis)?)?;
    }
    bounded(steps, &result, to)
}

/// Within the bounds of a type.
fn bounded(steps: &mut Steps, value: &Value, to: Element) -> Result<Value, Problem> {
    let Some((least, most)) = to.bounds() else { return Ok(value.clone()) };
    let value = steps.scalar(Binary::Max, value, least)?;
    let most = steps.numbers(Vec::new(), &[most]);
    steps.apply(Function::Binary(Binary::Min), &[&value, &most], to)
}

fn axis_of(node: &Node, value: &Value) -> Result<usize, Problem> {
    if node.int("block_size", 0)? != 0 {
        return Err(Problem::Unsupported("scales of blocks (block_size)".to_owned()));
    }
    let rank = value.dims().len();
    if rank == 0 { Ok(0) } else { axis(node.int("axis", 1)?.min(rank as i64 - 1), rank) }
}

/// `DequantizeLinear`.
pub(crate) fn dequantize_linear(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let axis = axis_of(node, value)?;
    let mut steps = Steps::new(import, node);
    loaded(dequantized(&mut steps, value, node.value(1)?, given(node, 2), axis))
}

/// `QuantizeLinear`.
pub(crate) fn quantize_linear(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let axis = axis_of(node, value)?;
    let to = match (given(node, 2), node.int("output_dtype", 0)?) {
        (Some(zero), _) => zero.element(),
        (None, 0) => Element::U8,
        (None, number) => Element::from_onnx(number)
            .ok_or_else(|| Problem::Unsupported(format!("quantising to element type {number}")))?,
    };
    let mut steps = Steps::new(import, node);
    loaded(quantized(&mut steps, value, node.value(1)?, given(node, 2), axis, to))
}

/// `DynamicQuantizeLinear`: to eight bits, with the scale and zero point that suit the value.
pub(crate) fn dynamic_quantize_linear(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let axes: Vec<u32> = (0..value.dims().len() as u32).collect();
    let mut steps = Steps::new(import, node);
    let mut extreme = |by, bound| {
        let found = steps.map(Function::Reduce { by, axes: axes.clone() }, value)?;
        steps.scalar(bound, &found.reshaped(Vec::new())?, 0.0)
    };
    let most = extreme(Reduce::Max, Binary::Max)?;
    let least = extreme(Reduce::Min, Binary::Min)?;
    let span = steps.binary(Binary::Sub, &most, &least)?;
    let scale = steps.scalar(Binary::Div, &span, 255.0)?;
    // Where all elements are 0, any scale will do.
    let scale = steps.scalar(Binary::Max, &scale, f32::MIN_POSITIVE)?;
    let zero = steps.binary(Binary::Div, &least, &scale)?;
    let zero = steps.curve(Curve::Neg, &zero)?;
    let zero = steps.curve(Curve::Round, &zero)?;
    let zero = bounded(&mut steps, &zero, Element::U8)?;
    let result = quantized(&mut steps, value, &scale, Some(&zero), 0, Element::U8)?;
    Ok(vec![result, scale, zero])
}

/// A convolution of float32 by the attributes of the node: split by rows if possible.
fn convolved(
    import: &mut Import,
    node: &Node,
    inputs: [Option<Value>; 3],
) -> Result<Value, Problem> {
    let plain = node.with_inputs(inputs.to_vec());
    // Nothing that the first loader adds before it refuses is read by anybody.
    let mut results = match conv(import, &plain) {
        Ok(results) => results,
        Err(_) => conv_any(import, &plain)?,
    };
    results.pop().ok_or(Problem::InputMissing(0))
}

/// `ConvInteger`.
pub(crate) fn conv_integer(import: &mut Import, node: &Node) -> Loaded {
    let mut sides = Vec::new();
    for (index, axis) in [(0, 1), (1, 0)] {
        let mut steps = Steps::new(import, node);
        let side = node.value(index)?;
        sides.push(match given(node, 2 + index) {
            Some(zero) => without_zero(&mut steps, side, zero, axis)?,
            None => side.clone(),
        });
    }
    let [x, weights] = [sides.remove(0), sides.remove(0)];
    loaded(convolved(import, node, [Some(x), Some(weights), None]))
}

/// `MatMulInteger`.
pub(crate) fn matmul_integer(import: &mut Import, node: &Node) -> Loaded {
    let mut steps = Steps::new(import, node);
    let mut sides = Vec::new();
    for index in 0..2 {
        let side = node.value(index)?;
        // A zero point per row of the first, per column of the second.
        let axis = if index == 0 { side.dims().len().saturating_sub(2) } else { side.dims().len() };
        sides.push(match given(node, 2 + index) {
            Some(zero) => without_zero(&mut steps, side, zero, axis)?,
            None => side.clone(),
        });
    }
    loaded(product(&mut steps, &sides[0], &sides[1]))
}

/// `QLinearConv`.
pub(crate) fn qlinear_conv(import: &mut Import, node: &Node) -> Loaded {
    let mut steps = Steps::new(import, node);
    let (x_scale, w_scale) = (node.value(1)?, node.value(4)?);
    let x = dequantized(&mut steps, node.value(0)?, x_scale, given(node, 2), 1)?;
    let weights = dequantized(&mut steps, node.value(3)?, w_scale, given(node, 5), 0)?;
    let bias = match given(node, 8) {
        Some(bias) => {
            let scale = steps.binary(Binary::Mul, x_scale, w_scale)?;
            Some(steps.apply(Function::Binary(Binary::Mul), &[bias, &scale], Element::F32)?)
        }
        None => None,
    };
    let result = convolved(import, node, [Some(x), Some(weights), bias])?;
    let to = given(node, 7).map_or(Element::U8, Value::element);
    let mut steps = Steps::new(import, node);
    loaded(quantized(&mut steps, &result, node.value(6)?, given(node, 7), 1, to))
}

/// `QLinearMatMul`.
pub(crate) fn qlinear_matmul(import: &mut Import, node: &Node) -> Loaded {
    let mut steps = Steps::new(import, node);
    let rows = |value: &Value| value.dims().len().saturating_sub(2);
    let (a, b) = (node.value(0)?, node.value(3)?);
    let left = dequantized(&mut steps, a, node.value(1)?, given(node, 2), rows(a))?;
    let right = dequantized(&mut steps, b, node.value(4)?, given(node, 5), b.dims().len())?;
    let result = product(&mut steps, &left, &right)?;
    let to = given(node, 7).map_or(Element::U8, Value::element);
    let axis = rows(&result);
    loaded(quantized(&mut steps, &result, node.value(6)?, given(node, 7), axis, to))
}
