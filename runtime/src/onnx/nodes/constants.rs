//! Operators that are evaluated while loading: constants, and arithmetic on shapes.

use std::sync::Arc;

use half::f16;

use super::loaded::Loaded;
use crate::onnx::constant::{Constant, Data, Element, product};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::{Node, axis};

/// `Constant`.
pub(crate) fn constant(_: &mut Import, node: &Node) -> Loaded {
    let name = node.name.as_str();
    let list = |length: usize| vec![length as u64];
    let constant = if let Some(tensor) = node.tensor("value") {
        tensor.clone()
    } else if let Some(numbers) = node.floats("value_floats")? {
        Constant::floats(name, list(numbers.len()), numbers)
    } else if let Some(numbers) = node.ints("value_ints")? {
        Constant::ints(name, list(numbers.len()), numbers)
    } else if node.has("value_float") {
        Constant::floats(name, Vec::new(), &[node.float("value_float", 0.0)?])
    } else if node.has("value_int") {
        Constant::ints(name, Vec::new(), &[node.int("value_int", 0)?])
    } else {
        return Err(Problem::Unsupported("a constant that is sparse or not a number".to_owned()));
    };
    Ok(vec![Value::Constant(constant)])
}

/// `ConstantOfShape`: the same number for all elements, which take no memory.
pub(crate) fn constant_of_shape(_: &mut Import, node: &Node) -> Loaded {
    let shape = node.constant(0)?.to_ints()?;
    let dims: Option<Vec<u64>> = shape.iter().map(|dim| u64::try_from(*dim).ok()).collect();
    let dims = dims.filter(|dims| product(dims).is_some());
    let dims = dims.ok_or_else(|| {
        Problem::Invalid(format!("{shape:?} is not a shape of at most 2^30 elements"))
    })?;
    let (element, bytes) = match node.tensor("value") {
        Some(value) if value.elements() == 1 => (value.element, value.bytes()?),
        Some(value) => return Err(value.problem("the value is a single number")),
        None => (Element::F32, 0f32.to_le_bytes().to_vec()),
    };
    let data = Data::Fill(Arc::from(bytes));
    Ok(vec![Value::Constant(Constant { name: node.name.clone(), dims, element, data })])
}

/// `Shape`: the dimensions of a value, which are all known.
pub(crate) fn shape(_: &mut Import, node: &Node) -> Loaded {
    let dims = node.value(0)?.dims();
    let rank = dims.len() as i64;
    let clamp = |index: i64| if index < 0 { index.saturating_add(rank) } else { index };
    let start = clamp(node.int("start", 0)?).clamp(0, rank) as usize;
    let end = clamp(node.int("end", rank)?).clamp(0, rank) as usize;
    let dims: Vec<i64> = dims[start..end.max(start)].iter().map(|dim| *dim as i64).collect();
    let list = vec![dims.len() as u64];
    Ok(vec![Value::Constant(Constant::ints(&node.name, list, &dims))])
}

/// `Gather` from a list of integers.
pub(crate) fn gather(_: &mut Import, node: &Node) -> Loaded {
    let (list, indices) = (node.constant(0)?, node.constant(1)?);
    if list.dims.len() != 1 || list.element.is_float() || node.int("axis", 0)? != 0 {
        let wanted = "only a list of integers is supported".to_owned();
        return Err(Problem::Dims { dims: list.dims.clone(), wanted });
    }
    let numbers = list.to_ints()?;
    let picked =
        indices.to_ints()?.into_iter().map(|index| Ok(numbers[axis(index, numbers.len())?]));
    let picked: Vec<i64> = picked.collect::<Result<_, Problem>>()?;
    Ok(vec![Value::Constant(Constant::ints(&node.name, indices.dims.clone(), &picked))])
}

/// `Cast`. Everything is computed as float32, so casts between floats do nothing; float16
/// weights stay float16.
pub(crate) fn cast(_: &mut Import, node: &Node) -> Loaded {
    let number = node.int("to", 0)?;
    let to = Element::from_onnx(number)
        .ok_or_else(|| Problem::Unsupported(format!("a cast to element type {number}")))?;
    let constant = match node.value(0)? {
        Value::View(view) if to == Element::Bf16 && view.element != to => {
            return Err(Problem::Unsupported("a cast to bfloat16".to_owned()));
        }
        Value::View(view) if to.is_float() && view.element.is_float() => {
            return Ok(vec![node.value(0)?.clone()]);
        }
        Value::View(_) => return Err(Problem::Unsupported("a cast to integers".to_owned())),
        Value::Constant(constant) => constant,
    };
    let dims = constant.dims.clone();
    let cast = match (constant.element, to) {
        (from, to) if from == to => constant.clone(),
        (Element::F16, Element::F32 | Element::F64) => constant.clone(),
        (_, Element::F16) => {
            let halves = constant.to_floats()?.into_iter().map(f16::from_f32);
            let data = Data::Held(halves.flat_map(f16::to_le_bytes).collect());
            Constant { element: Element::F16, data, ..constant.clone() }
        }
        (_, Element::F32 | Element::F64 | Element::Bf16) => {
            Constant::floats(&constant.name, dims, &constant.to_floats()?)
        }
        (_, Element::Bool) => {
            let truths = constant.to_floats()?.into_iter().map(|number| i64::from(number != 0.0));
            Constant::ints(&constant.name, dims, &truths.collect::<Vec<_>>())
        }
        (_, Element::I8 | Element::U8 | Element::I16 | Element::U16) => {
            Constant::numbers_of(&constant.name, dims, to, &constant.to_floats()?)
        }
        _ => Constant::ints(&constant.name, dims, &constant.to_ints()?),
    };
    Ok(vec![Value::Constant(cast)])
}

/// Elementwise arithmetic on two constants of equal dimensions, or with a single number, as shapes
/// are computed. `None` if an input is computed at run time.
pub(super) fn arithmetic(
    node: &Node,
    on_ints: impl Fn(i64, i64) -> Option<i64>,
    on_floats: impl Fn(f32, f32) -> f32,
) -> Result<Option<Value>, Problem> {
    let [Some(Value::Constant(a)), Some(Value::Constant(b))] = node.inputs() else {
        return Ok(None);
    };
    let is_single = |side: &Constant, other: &Constant| {
        side.elements() == 1 && side.dims.len() <= other.dims.len()
    };
    let dims = match (a, b) {
        _ if a.dims == b.dims || is_single(b, a) => &a.dims,
        _ if is_single(a, b) => &b.dims,
        _ => {
            let wanted = "only a single number or one of the same size is supported".to_owned();
            return Err(Problem::Dims { dims: b.dims.clone(), wanted });
        }
    };
    let count = a.elements().max(b.elements());
    let constant = if a.element.is_float() || b.element.is_float() {
        let (a, b) = (a.to_floats()?, b.to_floats()?);
        let pairs = (0..count as usize).map(|i| (a[i % a.len()], b[i % b.len()]));
        let results: Vec<f32> = pairs.map(|(a, b)| on_floats(a, b)).collect();
        Constant::floats(&node.name, dims.clone(), &results)
    } else {
        let (a, b) = (a.to_ints()?, b.to_ints()?);
        let pairs = (0..count as usize).map(|i| (a[i % a.len()], b[i % b.len()]));
        let results: Option<Vec<i64>> = pairs.map(|(a, b)| on_ints(a, b)).collect();
        let results = results.ok_or_else(|| {
            Problem::Invalid("a division by zero, or a number of over 64 bits".to_owned())
        })?;
        Constant::ints(&node.name, dims.clone(), &results)
    };
    Ok(Some(Value::Constant(constant)))
}
