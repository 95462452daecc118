//! Sums, and factors and summands per channel.

use super::{Loaded, one};
use crate::graph::Op;
use crate::onnx::constant::Constant;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value, View};
use crate::onnx::node::Node;

/// `Add` and `Sum`: of values of one shape, or of a value and a constant per channel.
pub(crate) fn add(import: &mut Import, node: &Node) -> Loaded {
    let mut views: Vec<&View> = Vec::new();
    let mut constants: Vec<&Constant> = Vec::new();
    for index in 0..node.inputs().len() {
        match node.value(index)? {
            Value::View(view) => views.push(view),
            Value::Constant(constant) => constants.push(constant),
        }
    }
    let Some(first) = views.first() else { return Err(Problem::NotComputed(0)) };
    if let Some(other) = views.iter().find(|view| view.dims != first.dims) {
        let wanted = format!("another input has {:?}; all must be the same", first.dims);
        return Err(Problem::Dims { dims: other.dims.clone(), wanted });
    }
    let mut sum = match views.len() {
        1 => (*first).clone(),
        _ => import.layer(&node.name, Op::Add, &views)?.reshaped(first.dims.clone())?,
    };
    for constant in constants {
        let shift = per_channel(import, constant, &sum)?;
        let name = if views.len() == 1 { node.name.clone() } else { import.unique(&node.name) };
        sum = import.affine(&name, &sum, &vec![1.0; shift.len()], &shift)?;
    }
    one(sum)
}

/// `BatchNormalization` as it is after training: a factor and a summand per channel.
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

/// A constant's numbers, one for every channel of `view`, where broadcasting spreads it so.
fn per_channel(import: &Import, constant: &Constant, view: &View) -> Result<Vec<f32>, Problem> {
    let channels = import.channels_first(view)?.channels as usize;
    let rank = view.dims.len();
    let mut dims = vec![1; rank.saturating_sub(constant.dims.len())];
    dims.extend_from_slice(&constant.dims);
    let along_channels = dims.iter().enumerate().all(|(axis, dim)| axis == 1 || *dim == 1);
    if dims.len() == rank && along_channels {
        match constant.to_floats()?[..] {
            [number] => return Ok(vec![number; channels]),
            ref numbers if numbers.len() == channels => return Ok(numbers.to_vec()),
            _ => {}
        }
    }
    let wanted = format!("only a number per channel of {:?} is supported", view.dims);
    Err(Problem::Dims { dims: constant.dims.clone(), wanted })
}
