//! Normalisations and softmax.

use super::steps::{Steps, along, channels, loaded};
use crate::graph::{Binary, Curve, Function, Lrn, Reduce};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::{Node, axis};
use crate::onnx::nodes::loaded::Loaded;

/// All axes from one on.
fn axes_from(axis: u32, value: &Value) -> Vec<u32> {
    (axis..value.dims().len() as u32).collect()
}

/// Factors and summands, if the node has them, with dimensions that align with a value's.
fn affine(
    steps: &mut Steps,
    mut value: Value,
    (scale, bias): (usize, usize),
    dims: impl Fn(&Value) -> Vec<u64>,
) -> Result<Value, Problem> {
    for (index, by) in [(scale, Binary::Mul), (bias, Binary::Add)] {
        if let Some(Some(numbers)) = steps.node.inputs().get(index) {
            let numbers = numbers.reshaped(dims(numbers))?;
            value = steps.binary(by, &value, &numbers)?;
        }
    }
    Ok(value)
}

/// `LayerNormalization`: over all axes from one on.
pub(crate) fn layer_normalization(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let mut steps = Steps::new(import, node);
    let axes = axes_from(steps.axis("axis", -1, value)?, value);
    let epsilon = node.float("epsilon", 1e-5)?;
    let normal = steps.map(Function::Normalise { axes: axes.clone(), epsilon }, value)?;
    let mut results = vec![affine(&mut steps, normal, (1, 2), |numbers| numbers.dims().to_vec())?];
    if node.outputs() > 1 {
        // The mean, and one over the standard deviation.
        let mean = Function::Reduce { by: Reduce::Mean, axes };
        let means = steps.map(mean.clone(), value)?;
        let centred = steps.binary(Binary::Sub, value, &means)?;
        let squares = steps.binary(Binary::Mul, &centred, &centred)?;
        let variance = steps.map(mean, &squares)?;
        let variance = steps.scalar(Binary::Add, &variance, epsilon)?;
        let deviation = steps.curve(Curve::Sqrt, &variance)?;
        results.extend([means, steps.curve(Curve::Reciprocal, &deviation)?]);
    }
    Ok(results)
}

/// `RMSNormalization`: over the root of the mean square.
pub(crate) fn rms_normalization(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let mut steps = Steps::new(import, node);
    let axes = axes_from(steps.axis("axis", -1, value)?, value);
    let squares = steps.binary(Binary::Mul, value, value)?;
    let mean = steps.map(Function::Reduce { by: Reduce::Mean, axes }, &squares)?;
    let mean = steps.scalar(Binary::Add, &mean, node.float("epsilon", 1e-5)?)?;
    let root = steps.curve(Curve::Sqrt, &mean)?;
    let normal = steps.binary(Binary::Div, value, &root)?;
    loaded(affine(&mut steps, normal, (1, 2), |numbers| numbers.dims().to_vec()))
}

/// `InstanceNormalization`: over all axes behind the channels.
pub(crate) fn instance_normalization(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let (rank, channels) = (value.dims().len(), channels(value)?);
    let mut steps = Steps::new(import, node);
    let function =
        Function::Normalise { axes: axes_from(2, value), epsilon: node.float("epsilon", 1e-5)? };
    let normal = steps.map(function, value)?;
    loaded(affine(&mut steps, normal, (1, 2), |_| along(1, rank, channels)))
}

/// `GroupNormalization`: over the channels of a group and all axes behind them.
pub(crate) fn group_normalization(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let groups = u64::try_from(node.int("num_groups", 0)?).ok().filter(|groups| *groups > 0);
    let wanted = "a positive integer that divides the channels";
    let problem = || Problem::Attribute { name: "num_groups".to_owned(), wanted };
    let (rank, dims, channels) = (value.dims().len(), value.dims(), channels(value)?);
    let groups = groups.filter(|groups| channels.is_multiple_of(*groups)).ok_or_else(problem)?;
    let apart = [&[dims[0], groups, channels / groups], &dims[2..]].concat();
    let apart = value.reshaped(apart)?;
    let mut steps = Steps::new(import, node);
    let function =
        Function::Normalise { axes: axes_from(2, &apart), epsilon: node.float("epsilon", 1e-5)? };
    let mut normal = steps.map(function, &apart)?;
    // Up to version 18 there was a factor per group.
    let per_group = node.value(1)?.dims() == [groups] && groups != channels;
    if per_group {
        let rank = apart.dims().len();
        normal = affine(&mut steps, normal, (1, 2), |_| along(1, rank, groups))?;
        return loaded(normal.reshaped(dims.to_vec()));
    }
    let normal = normal.reshaped(dims.to_vec())?;
    loaded(affine(&mut steps, normal, (1, 2), |_| along(1, rank, channels)))
}

/// `BatchNormalization` of a batch, or with numbers that are computed.
pub(crate) fn batch_normalization_any(import: &mut Import, node: &Node) -> Loaded {
    if node.flag("training_mode")? || node.int("spatial", 1)? != 1 {
        let what = "training_mode 1 or spatial 0; export the model for inference";
        return Err(Problem::Unsupported(what.to_owned()));
    }
    let value = node.value(0)?;
    let (rank, channels) = (value.dims().len(), value.dims().get(1).copied().unwrap_or(1));
    let mut steps = Steps::new(import, node);
    let numbers = |index: usize| {
        let numbers = node.value(index)?;
        if rank < 2 { Ok(numbers.clone()) } else { numbers.reshaped(along(1, rank, channels)) }
    };
    let [gamma, beta, mean, variance] = [numbers(1)?, numbers(2)?, numbers(3)?, numbers(4)?];
    let variance = steps.scalar(Binary::Add, &variance, node.float("epsilon", 1e-5)?)?;
    let deviation = steps.curve(Curve::Sqrt, &variance)?;
    let centred = steps.binary(Binary::Sub, value, &mean)?;
    let normal = steps.binary(Binary::Div, &centred, &deviation)?;
    let scaled = steps.binary(Binary::Mul, &normal, &gamma)?;
    loaded(steps.binary(Binary::Add, &scaled, &beta))
}

/// `MeanVarianceNormalization`.
pub(crate) fn mean_variance_normalization(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let named = node.ints("axes")?.unwrap_or(&[0, 2, 3]);
    let axes = named.iter().map(|index| Ok(axis(*index, value.dims().len())? as u32));
    let mut axes: Vec<u32> = axes.collect::<Result<_, Problem>>()?;
    axes.sort_unstable();
    loaded(Steps::new(import, node).map(Function::Normalise { axes, epsilon: 1e-9 }, value))
}

/// `LpNormalization`.
pub(crate) fn lp_normalization(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let by = match node.int("p", 2)? {
        1 => Reduce::L1,
        2 => Reduce::L2,
        _ => return Err(super::steps::attribute("p", "1 or 2")),
    };
    let mut steps = Steps::new(import, node);
    let axes = vec![steps.axis("axis", -1, value)?];
    let norm = steps.map(Function::Reduce { by, axes }, value)?;
    // Where the norm is 0 so is every element.
    let norm = steps.scalar(Binary::Max, &norm, f32::MIN_POSITIVE)?;
    loaded(steps.binary(Binary::Div, value, &norm))
}

/// `LRN` of a batch.
pub(crate) fn lrn_any(import: &mut Import, node: &Node) -> Loaded {
    let size = u32::try_from(node.int("size", 0)?).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| super::steps::attribute("size", "a positive integer"))?;
    let (alpha, beta) = (node.float("alpha", 1e-4)?, node.float("beta", 0.75)?);
    let lrn = Lrn { size, alpha, beta, bias: node.float("bias", 1.0)? };
    loaded(Steps::new(import, node).map(Function::Lrn(lrn), node.value(0)?))
}

/// A function along an axis; before version 13 over all axes from that one on.
fn along_axis(import: &mut Import, node: &Node, function: fn(u32) -> Function) -> Loaded {
    let value = node.value(0)?;
    let mut steps = Steps::new(import, node);
    if node.opset >= 13 {
        let axis = steps.axis("axis", -1, value)?;
        return loaded(steps.map(function(axis), value));
    }
    let axis = steps.axis("axis", 1, value)? as usize;
    let (outer, inner) = value.dims().split_at(axis);
    let matrix = value.reshaped(vec![outer.iter().product(), inner.iter().product()])?;
    loaded(steps.map(function(1), &matrix)?.reshaped(value.dims().to_vec()))
}

/// `Softmax` along any axis.
pub(crate) fn softmax_any(import: &mut Import, node: &Node) -> Loaded {
    along_axis(import, node, |axis| Function::Softmax { axis, log: false })
}

/// `LogSoftmax`.
pub(crate) fn log_softmax(import: &mut Import, node: &Node) -> Loaded {
    along_axis(import, node, |axis| Function::Softmax { axis, log: true })
}

/// `Hardmax`.
pub(crate) fn hardmax(import: &mut Import, node: &Node) -> Loaded {
    along_axis(import, node, |axis| Function::Hardmax { axis })
}
