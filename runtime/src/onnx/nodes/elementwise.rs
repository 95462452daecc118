//! Sums, products, and factors and summands per channel.

use super::constants::arithmetic;
use super::loaded::{Loaded, one};
use crate::graph::{Activation, Lrn, Op};
use crate::onnx::constant::Constant;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value, View};
use crate::onnx::node::Node;

/// `Add` and `Sum`, of values of one shape and of constants per channel.
pub(crate) fn add(import: &mut Import, node: &Node) -> Loaded {
    if let Some(sum) = arithmetic(node, i64::checked_add, |a, b| a + b)? {
        return Ok(vec![sum]);
    }
    let (views, constants) = partition(node)?;
    let Some(first) = views.first() else { return Err(Problem::NotComputed(0)) };
    let mut sum = match views.len() {
        1 => (*first).clone(),
        _ => sum_of(import, node, &views)?,
    };
    for constant in constants {
        let shift = per_channel(import, constant, &sum)?;
        let name =
            if views.len() == 1 { node.name.clone() } else { import.unique_name(&node.name) };
        sum = import.affine(&name, &sum, &vec![1.0; shift.len()], &shift)?;
    }
    one(sum)
}

/// `Sub`: a sum with one side negated.
pub(crate) fn sub(import: &mut Import, node: &Node) -> Loaded {
    if let Some(difference) = arithmetic(node, i64::checked_sub, |a, b| a - b)? {
        return Ok(vec![difference]);
    }
    let (a, b) = (node.value(0)?, node.value(1)?);
    let negated = |import: &mut Import, view: &View, shift: Option<&Constant>| {
        let channels = import.shape(view).channels as usize;
        let shift = match shift {
            Some(shift) => per_channel(import, shift, view)?,
            None => vec![0.0; channels],
        };
        let name = import.unique_name(&format!("{}/negated", node.name));
        import.affine(&name, view, &vec![-1.0; channels], &shift)
    };
    match (a, b) {
        (Value::View(a), Value::Constant(b)) => {
            let shift: Vec<f32> = per_channel(import, b, a)?.iter().map(|shift| -shift).collect();
            one(import.affine(&node.name, a, &vec![1.0; shift.len()], &shift)?)
        }
        (Value::Constant(a), Value::View(b)) => one(negated(import, b, Some(a))?),
        (Value::View(a), Value::View(b)) => {
            let b = negated(import, b, None)?;
            one(sum_of(import, node, &[a, &b])?)
        }
        _ => Err(Problem::NotComputed(0)),
    }
}

/// `Mul`, of values of one shape, computed factors per channel, and constants per channel.
pub(crate) fn mul(import: &mut Import, node: &Node) -> Loaded {
    if let Some(product) = arithmetic(node, i64::checked_mul, |a, b| a * b)? {
        return Ok(vec![product]);
    }
    let (views, constants) = partition(node)?;
    let mut product = match views[..] {
        [] => return Err(Problem::NotComputed(0)),
        [view] => view.clone(),
        [x, gate] if import.fold_gate(x, gate) => gate.clone(),
        [gate, x] if import.fold_gate(x, gate) => gate.clone(),
        _ => product_of(import, node, &views)?,
    };
    for constant in constants {
        let scale = per_channel(import, constant, &product)?;
        let name =
            if views.len() == 1 { node.name.clone() } else { import.unique_name(&node.name) };
        product = import.affine(&name, &product, &scale, &vec![0.0; scale.len()])?;
    }
    one(product)
}

/// `Div` by a constant.
pub(crate) fn div(import: &mut Import, node: &Node) -> Loaded {
    if let Some(quotient) = arithmetic(node, i64::checked_div, |a, b| a / b)? {
        return Ok(vec![quotient]);
    }
    let (view, divisor) = (node.view(0)?, node.constant(1)?);
    if !view.element.is_float() {
        return Err(Problem::Unsupported("a division of integers".to_owned()));
    }
    let scale: Vec<f32> = per_channel(import, divisor, view)?.iter().map(|x| 1.0 / x).collect();
    one(import.affine(&node.name, view, &scale, &vec![0.0; scale.len()])?)
}

/// `PRelu`: with one slope for all channels a leaky relu, otherwise relu(x) - slope relu(-x).
pub(crate) fn prelu(import: &mut Import, node: &Node) -> Loaded {
    let (view, slopes) = (node.view(0)?, node.constant(1)?);
    let slopes = per_channel(import, slopes, view)?;
    if slopes.iter().all(|slope| *slope == slopes[0]) {
        let slope = slopes[0];
        return one(import.activate(&node.name, view, Activation::Leaky { slope })?);
    }
    // Both halves read it, so neither can be folded into it.
    let shared = View { sole: false, ..view.clone() };
    let zeros = vec![0.0; slopes.len()];
    let [positive, flipped, negative] = ["positive", "flipped", "negative"]
        .map(|part| import.unique_name(&format!("{}/{part}", node.name)));
    let positive = import.activate(&positive, &shared, Activation::Relu)?;
    let flipped = import.affine(&flipped, &shared, &vec![-1.0; slopes.len()], &zeros)?;
    let flipped = View { sole: false, ..import.activate(&node.name, &flipped, Activation::Relu)? };
    let slopes: Vec<f32> = slopes.iter().map(|slope| -slope).collect();
    let negative = import.affine(&negative, &flipped, &slopes, &zeros)?;
    one(sum_of(import, node, &[&positive, &negative])?)
}

/// Separates computed inputs from constants.
fn partition<'a>(node: &'a Node) -> Result<(Vec<&'a View>, Vec<&'a Constant>), Problem> {
    let (mut views, mut constants) = (Vec::new(), Vec::new());
    for index in 0..node.inputs().len() {
        match node.value(index)? {
            Value::View(view) => views.push(view),
            Value::Constant(constant) => constants.push(constant),
        }
    }
    Ok((views, constants))
}

/// The sum of values of one shape.
fn sum_of(import: &mut Import, node: &Node, views: &[&View]) -> Result<View, Problem> {
    let dims = &views[0].dims;
    same_dims(dims, views)?;
    import.layer(&node.name, Op::Add, views)?.reshaped(dims.clone())
}

/// The product of values of one shape, or of maps and factors per channel.
fn product_of(import: &mut Import, node: &Node, views: &[&View]) -> Result<View, Problem> {
    let largest = views.iter().max_by_key(|view| import.shape(view).elements());
    let dims = largest.map(|view| view.dims.clone()).unwrap_or_default();
    for view in views.iter().filter(|view| view.dims != dims) {
        // The rank must be the same, so that factors align with channels.
        let (factors, map) = (import.channels_first(view)?, dims.get(1).copied());
        if view.dims.len() != dims.len() || !factors.is_vector() || map != Some(view.dims[1]) {
            return same_dims(&dims, &[view]).map(|()| (*view).clone());
        }
    }
    import.layer(&node.name, Op::Mul, views)?.reshaped(dims)
}

fn same_dims(dims: &[u64], views: &[&View]) -> Result<(), Problem> {
    match views.iter().find(|view| view.dims != dims) {
        None => Ok(()),
        Some(other) => {
            let wanted = format!("another input has {dims:?}; all must be the same");
            Err(Problem::Dims { dims: other.dims.clone(), wanted })
        }
    }
}

/// `BatchNormalization` for inference: a factor and a summand per channel.
pub(crate) fn batch_normalization(import: &mut Import, node: &Node) -> Loaded {
    if node.flag("training_mode")? || node.int("spatial", 1)? != 1 {
        let what = "training_mode 1 or spatial 0; export the model for inference";
        return Err(Problem::Unsupported(what.to_owned()));
    }
    let view = node.view(0)?;
    let channels = import.channels_first(view)?.channels;
    let numbers = |index: usize| {
        let constant = node.constant(index)?;
        if constant.dims != [u64::from(channels)] {
            let wanted = format!("there are {channels} channels");
            return Err(Problem::Dims { dims: constant.dims.clone(), wanted });
        }
        constant.to_floats()
    };
    let (gamma, beta, mean, variance) = (numbers(1)?, numbers(2)?, numbers(3)?, numbers(4)?);
    let epsilon = f64::from(node.float("epsilon", 1e-5)?);
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + epsilon).sqrt())
        .collect();
    let shift: Vec<f32> = beta
        .iter()
        .zip(&mean)
        .zip(&scale)
        .map(|((beta, mean), scale)| (f64::from(*beta) - f64::from(*mean) * scale) as f32)
        .collect();
    let scale: Vec<f32> = scale.iter().map(|scale| *scale as f32).collect();
    one(import.affine(&node.name, view, &scale, &shift)?)
}

/// `LRN`.
pub(crate) fn lrn(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    import.channels_first(view)?;
    let size = node.int("size", 0)?;
    let size = u32::try_from(size).ok().filter(|size| *size > 0);
    let wanted = "a positive integer";
    let size = size.ok_or_else(|| Problem::Attribute { name: "size".to_owned(), wanted })?;
    let [alpha, beta, bias] = [("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)]
        .map(|(name, default)| node.float(name, default));
    let lrn = Lrn { size, alpha: alpha?, beta: beta?, bias: bias? };
    one(import.layer(&node.name, Op::Lrn(lrn), &[view])?)
}

/// A constant's numbers, one per channel of `view`, if broadcasting gives it that meaning.
fn per_channel(import: &Import, constant: &Constant, view: &View) -> Result<Vec<f32>, Problem> {
    let channels = import.shape(view).channels as usize;
    let rank = view.dims.len();
    if constant.elements() == 1 && constant.dims.len() <= rank {
        return Ok(vec![constant.to_floats()?[0]; channels]);
    }
    // However the pixels of a channel are seen.
    if view.dims.first() != Some(&1) || view.dims.get(1) != Some(&(channels as u64)) {
        import.channels_first(view)?;
    }
    let mut dims = vec![1; rank.saturating_sub(constant.dims.len())];
    dims.extend_from_slice(&constant.dims);
    let along_channels = dims.iter().enumerate().all(|(axis, dim)| axis == 1 || *dim == 1);
    if dims.len() == rank && along_channels {
        match constant.to_floats()?[..] {
            ref numbers if numbers.len() == channels => return Ok(numbers.to_vec()),
            _ => {}
        }
    }
    let wanted = format!("only a number per channel of {:?} is supported", view.dims);
    Err(Problem::Dims { dims: constant.dims.clone(), wanted })
}
