//! Parts of tensors, repetition, borders, and blocks that become pixels.

use super::steps::{Steps, attribute, loaded};
use crate::graph::{Function, PadMode, Stride};
use crate::onnx::constant::{Constant, Element, MAX_RANK};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::{Node, axis};
use crate::onnx::nodes::loaded::Loaded;
use crate::onnx::nodes::order::block;
use crate::onnx::nodes::parts::{all_of, strides};

/// `Slice` along any axes, with any steps.
pub(crate) fn slice_any(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let strides = strides(node, value)?;
    loaded(Steps::new(import, node).map(Function::Slice { strides }, value))
}

/// `Split` along any axis.
pub(crate) fn split_any(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let at = axis(node.int("axis", 0)?, value.dims().len())?;
    let total = value.dims()[at];
    let outputs = node.outputs() as u64;
    let lengths = match node.ints_or_input("split", 1, 13)? {
        Some(lengths) => lengths,
        None => {
            let even = total.div_ceil(outputs.max(1));
            let parts = 0..outputs.min(total);
            parts.map(|part| even.min(total.saturating_sub(part * even)) as i64).collect()
        }
    };
    let whole = all_of(value)?;
    let mut start = 0u32;
    let mut parts = Vec::new();
    for length in &lengths {
        let count = u32::try_from(*length).ok().filter(|count| *count > 0);
        let end = count.and_then(|count| start.checked_add(count));
        let (Some(count), Some(end)) = (count, end.filter(|end| u64::from(*end) <= total)) else {
            let what = format!("parts of {lengths:?} of an axis of {total}");
            return Err(Problem::Invalid(what));
        };
        let mut strides = whole.clone();
        strides[at] = Stride { start, step: 1, count };
        start = end;
        parts.push(Steps::new(import, node).map(Function::Slice { strides }, value)?);
    }
    Ok(parts)
}

/// `Concat` along any axis.
pub(crate) fn concat_any(import: &mut Import, node: &Node) -> Loaded {
    let values: Vec<&Value> =
        (0..node.inputs().len()).map(|index| node.value(index)).collect::<Result<_, _>>()?;
    let first = *values.first().ok_or(Problem::InputMissing(0))?;
    let mut steps = Steps::new(import, node);
    let axis = steps.axis("axis", 1, first)?;
    loaded(steps.apply(Function::Concat { axis }, &values, first.element()))
}

/// Dimensions that an input says.
fn dims_of(node: &Node, index: usize) -> Result<Vec<u32>, Problem> {
    let ints = node.constant(index)?.to_ints()?;
    let dims = ints.iter().map(|dim| u32::try_from(*dim).ok()).collect::<Option<Vec<u32>>>();
    dims.filter(|dims| dims.len() <= MAX_RANK)
        .ok_or_else(|| Problem::Invalid(format!("{ints:?} are no dimensions")))
}

/// `Expand`.
pub(crate) fn expand(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let wanted = dims_of(node, 1)?;
    // Where 1 is wanted the value's own dimension stays.
    let rank = wanted.len().max(value.dims().len());
    let dim = |dims: &[u64], axis: usize| {
        (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis])
    };
    let wanted: Vec<u64> = wanted.iter().map(|dim| u64::from(*dim)).collect();
    let dims = (0..rank).map(|axis| dim(&wanted, axis).max(dim(value.dims(), axis)) as u32);
    let dims: Vec<u32> = dims.collect();
    loaded(Steps::new(import, node).map(Function::Expand { dims }, value))
}

/// `Tile`: every repeated axis gets one of 1 before it, which is expanded.
pub(crate) fn tile(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let repeats = dims_of(node, 1)?;
    if repeats.len() != value.dims().len() {
        return Err(Problem::Invalid(
            "a number of repetitions for every axis is needed".to_owned(),
        ));
    }
    let (mut apart, mut grown, mut result) = (Vec::new(), Vec::new(), Vec::new());
    for (dim, times) in value.dims().iter().zip(&repeats) {
        if *times > 1 {
            apart.push(1);
            grown.push(*times);
        }
        apart.push(*dim);
        grown.push(*dim as u32);
        result.push(dim * u64::from(*times));
    }
    let apart = value.reshaped(apart)?;
    let tiled = Steps::new(import, node).map(Function::Expand { dims: grown }, &apart)?;
    loaded(tiled.reshaped(result))
}

/// `Pad` in any mode, along any axes.
pub(crate) fn pad_any(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let rank = value.dims().len();
    let number = match node.inputs().get(2) {
        Some(Some(Value::Constant(value))) if node.opset >= 11 => {
            value.to_floats()?.first().copied().unwrap_or(0.0)
        }
        Some(Some(_)) if node.opset >= 11 => return Err(Problem::NotConstant(2)),
        _ => node.float("value", 0.0)?,
    };
    let mode = match node.text("mode")? {
        "" | "constant" => PadMode::Constant(number),
        "edge" => PadMode::Edge,
        "reflect" => PadMode::Reflect,
        "wrap" => PadMode::Wrap,
        _ => return Err(attribute("mode", "constant, edge, reflect or wrap")),
    };
    let pads = node.ints_or_input(if node.opset < 2 { "paddings" } else { "pads" }, 1, 11)?;
    let pads = pads.ok_or(Problem::InputMissing(1))?;
    let axes = match node.optional(3)? {
        Some(axes) => axes.to_ints()?,
        None => (0..rank as i64).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(Problem::Invalid(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let (mut before, mut after) = (vec![0i32; rank], vec![0i32; rank]);
    for (index, which) in axes.iter().enumerate() {
        let at = axis(*which, rank)?;
        let pad = |index: usize| {
            i32::try_from(pads[index]).map_err(|_| Problem::Invalid(format!("pads {pads:?}")))
        };
        (before[at], after[at]) = (pad(index)?, pad(index + axes.len())?);
    }
    loaded(Steps::new(import, node).map(Function::Pad { mode, before, after }, value))
}

fn picture(value: &Value) -> Result<[u64; 4], Problem> {
    <[u64; 4]>::try_from(value.dims()).map_err(|_| Problem::Dims {
        dims: value.dims().to_vec(),
        wanted: "batch x channels x rows x width are needed".to_owned(),
    })
}

/// `DepthToSpace` of a batch.
pub(crate) fn depth_to_space_any(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let ([n, c, h, w], b) = (picture(value)?, u64::from(block(node)?));
    let rest = c / (b * b);
    let (apart, axes) = match node.text("mode")? {
        "CRD" => (vec![n, rest, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        _ => (vec![n, b, b, rest, h, w], [0, 3, 4, 1, 5, 2]),
    };
    let apart = value.reshaped(apart)?;
    let turned = Steps::new(import, node).permuted(&apart, &axes)?;
    loaded(turned.reshaped(vec![n, rest, h * b, w * b]))
}

/// `SpaceToDepth`.
pub(crate) fn space_to_depth(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let ([n, c, h, w], b) = (picture(value)?, u64::from(block(node)?));
    let apart = value.reshaped(vec![n, c, h / b, b, w / b, b])?;
    let turned = Steps::new(import, node).permuted(&apart, &[0, 3, 5, 1, 2, 4])?;
    loaded(turned.reshaped(vec![n, c * b * b, h / b, w / b]))
}

/// `Range` of constants.
pub(crate) fn range_of(_: &mut Import, node: &Node) -> Loaded {
    let constants = [node.constant(0)?, node.constant(1)?, node.constant(2)?];
    let number = |constant: &Constant| match constant.to_floats()?[..] {
        [number] => Ok(f64::from(number)),
        _ => Err(constant.problem("it is a single number")),
    };
    let [start, end, step] = constants.map(number);
    let (start, end, step) = (start?, end?, step?);
    let count = ((end - start) / step).ceil();
    if !(1.0..=f64::from(1 << 22)).contains(&count) {
        return Err(Problem::Invalid(format!("{count} numbers from {start} to {end} by {step}")));
    }
    let numbers: Vec<f32> =
        (0..count as u32).map(|i| (start + f64::from(i) * step) as f32).collect();
    let dims = vec![numbers.len() as u64];
    let element = constants[0].element;
    Ok(vec![Value::Constant(Constant::numbers_of(&node.name, dims, element, &numbers))])
}

/// `Size`.
pub(crate) fn size(_: &mut Import, node: &Node) -> Loaded {
    let count = node.value(0)?.dims().iter().product::<u64>() as i64;
    Ok(vec![Value::Constant(Constant::ints(&node.name, Vec::new(), &[count]))])
}

/// `EyeLike`: ones on a diagonal.
pub(crate) fn eye_like(_: &mut Import, node: &Node) -> Loaded {
    let like = node.value(0)?;
    let [rows, cols] = like.dims()[..] else {
        let wanted = "a matrix is needed".to_owned();
        return Err(Problem::Dims { dims: like.dims().to_vec(), wanted });
    };
    if rows.saturating_mul(cols) > 1 << 22 {
        let wanted = "at most 2^22 elements are".to_owned();
        return Err(Problem::Dims { dims: like.dims().to_vec(), wanted });
    }
    let k = node.int("k", 0)?;
    let element = match node.int("dtype", 0)? {
        0 => like.element(),
        number => {
            Element::from_onnx(number).ok_or_else(|| attribute("dtype", "a type of numbers"))?
        }
    };
    let cells = (0..rows as i64).flat_map(|row| (0..cols as i64).map(move |col| (row, col)));
    let on = |(row, col): (i64, i64)| if row.checked_add(k) == Some(col) { 1.0 } else { 0.0 };
    let numbers: Vec<f32> = cells.map(on).collect();
    let dims = like.dims().to_vec();
    Ok(vec![Value::Constant(Constant::numbers_of(&node.name, dims, element, &numbers))])
}

/// `NonZero` of a constant.
pub(crate) fn non_zero(_: &mut Import, node: &Node) -> Loaded {
    let constant = match node.value(0)? {
        Value::Constant(constant) => constant,
        Value::View(_) => {
            let what = "a result whose size depends on the input's elements".to_owned();
            return Err(Problem::Unsupported(what));
        }
    };
    let numbers = constant.to_floats()?;
    let found: Vec<u64> =
        (0..numbers.len()).filter(|at| numbers[*at] != 0.0).map(|at| at as u64).collect();
    let mut indices = Vec::new();
    for axis in 0..constant.dims.len() {
        let inner: u64 = constant.dims[axis + 1..].iter().product();
        indices.extend(found.iter().map(|at| (at / inner % constant.dims[axis]) as i64));
    }
    let dims = vec![constant.dims.len() as u64, found.len() as u64];
    Ok(vec![Value::Constant(Constant::ints(&node.name, dims, &indices))])
}
