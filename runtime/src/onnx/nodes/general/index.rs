//! Elements by their index, and indices of elements.

use super::steps::{Steps, attribute, loaded};
use crate::graph::{Binary, Combine, Function};
use crate::onnx::constant::Element;
use crate::onnx::error::Problem;
use crate::onnx::import::Import;
use crate::onnx::node::{Node, axis};
use crate::onnx::nodes::loaded::Loaded;

/// `Gather` along any axis.
pub(crate) fn gather_any(import: &mut Import, node: &Node) -> Loaded {
    let (data, indices) = (node.value(0)?, node.value(1)?);
    let mut steps = Steps::new(import, node);
    let axis = steps.axis("axis", 0, data)?;
    loaded(steps.apply(Function::Gather { axis }, &[data, indices], data.element()))
}

/// `GatherElements`.
pub(crate) fn gather_elements(import: &mut Import, node: &Node) -> Loaded {
    let (data, indices) = (node.value(0)?, node.value(1)?);
    let mut steps = Steps::new(import, node);
    let axis = steps.axis("axis", 0, data)?;
    loaded(steps.apply(Function::GatherElements { axis }, &[data, indices], data.element()))
}

/// `GatherND`.
pub(crate) fn gather_nd(import: &mut Import, node: &Node) -> Loaded {
    let (data, indices) = (node.value(0)?, node.value(1)?);
    let batch = u32::try_from(node.int("batch_dims", 0)?);
    let batch = batch.map_err(|_| attribute("batch_dims", "a number of dimensions"))?;
    let function = Function::GatherNd { batch };
    loaded(Steps::new(import, node).apply(function, &[data, indices], data.element()))
}

fn combine(node: &Node) -> Result<Combine, Problem> {
    Ok(match node.text("reduction")? {
        "" | "none" => Combine::Replace,
        "add" => Combine::Add,
        "mul" => Combine::Mul,
        "max" => Combine::Max,
        "min" => Combine::Min,
        _ => return Err(attribute("reduction", "none, add, mul, max or min")),
    })
}

/// `ScatterElements`, and `Scatter`, its older name.
pub(crate) fn scatter_elements(import: &mut Import, node: &Node) -> Loaded {
    let [data, indices, updates] = [node.value(0)?, node.value(1)?, node.value(2)?];
    let by = combine(node)?;
    let mut steps = Steps::new(import, node);
    let axis = steps.axis("axis", 0, data)?;
    let function = Function::ScatterElements { axis, by };
    loaded(steps.apply(function, &[data, indices, updates], data.element()))
}

/// `ScatterND`.
pub(crate) fn scatter_nd(import: &mut Import, node: &Node) -> Loaded {
    let [data, indices, updates] = [node.value(0)?, node.value(1)?, node.value(2)?];
    let function = Function::ScatterNd { by: combine(node)? };
    loaded(Steps::new(import, node).apply(function, &[data, indices, updates], data.element()))
}

/// `OneHot`.
pub(crate) fn one_hot(import: &mut Import, node: &Node) -> Loaded {
    let indices = node.value(0)?;
    let depth = node.constant(1)?.to_ints()?;
    let values = node.constant(2)?;
    let depth = match depth[..] {
        [depth] => u32::try_from(depth).ok().filter(|depth| *depth > 0),
        _ => None,
    };
    let depth = depth.ok_or_else(|| Problem::Invalid("the depth is a positive number".into()))?;
    let [off, on] = values.to_floats()?[..] else {
        return Err(values.problem("two numbers, for off and on"));
    };
    let axis = axis(node.int("axis", -1)?, indices.dims().len() + 1)? as u32;
    let mut steps = Steps::new(import, node);
    let function = Function::OneHot { axis, depth };
    let mut hot = steps.apply(function, &[indices], values.element)?;
    if (off, on) != (0.0, 1.0) {
        hot = steps.scalar(Binary::Mul, &hot, on - off)?;
        hot = steps.scalar(Binary::Add, &hot, off)?;
    }
    Ok(vec![hot])
}

/// `CumSum`.
pub(crate) fn cumulative_sum(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let which = node.constant(1)?.to_ints()?;
    let which = which.first().copied().ok_or(Problem::InputMissing(1))?;
    let axis = axis(which, value.dims().len())? as u32;
    let (exclusive, reverse) = (node.flag("exclusive")?, node.flag("reverse")?);
    let function = Function::CumSum { axis, exclusive, reverse };
    loaded(Steps::new(import, node).map(function, value))
}

/// `TopK`: the elements and their indices.
pub(crate) fn top_k(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let count = match node.opset {
        ..10 => node.int("k", 0)?,
        _ => node.constant(1)?.to_ints()?.first().copied().unwrap_or(0),
    };
    let count = u32::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| Problem::Invalid("k is a positive number".to_owned()))?;
    let largest = node.int("largest", 1)? != 0;
    let mut steps = Steps::new(import, node);
    let axis = steps.axis("axis", -1, value)?;
    let function = |indices| Function::TopK { axis, count, largest, indices };
    let values = steps.map(function(false), value)?;
    let indices = steps.apply(function(true), &[value], Element::I64)?;
    Ok(vec![values, indices])
}

/// `Trilu`.
pub(crate) fn triangle(import: &mut Import, node: &Node) -> Loaded {
    let offset = match node.optional(1)? {
        Some(offset) => offset.to_ints()?.first().copied().unwrap_or(0),
        None => 0,
    };
    let upper = node.int("upper", 1)? != 0;
    loaded(Steps::new(import, node).map(Function::Triangle { upper, offset }, node.value(0)?))
}
