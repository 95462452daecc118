//! Operators that leave elements in order: reshaping, and joining channels or rows.

use super::loaded::{Loaded, one};
use crate::graph::Op;
use crate::onnx::constant::{Constant, MAX_RANK, product};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::{Node, axis};

/// `Identity`.
pub(crate) fn identity(_: &mut Import, node: &Node) -> Loaded {
    Ok(vec![node.value(0)?.clone()])
}

/// `Dropout`, which does nothing in inference.
pub(crate) fn dropout(_: &mut Import, node: &Node) -> Loaded {
    if let Some(training) = node.optional(2)?
        && training.to_ints()?.iter().any(|flag| *flag != 0)
    {
        return Err(Problem::Unsupported(
            "training_mode; export the model for inference".to_owned(),
        ));
    }
    Ok(vec![node.value(0)?.clone()])
}

/// `Flatten` to two dimensions.
pub(crate) fn flatten(_: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let dims = value.dims();
    // Here the axis may be the rank: everything comes before it.
    let at = node.int("axis", 1)?;
    let at = if usize::try_from(at) == Ok(dims.len()) { dims.len() } else { axis(at, dims.len())? };
    let sides = [&dims[..at], &dims[at..]].map(|side| side.iter().product());
    Ok(vec![value.reshaped(sides.to_vec())?])
}

/// `Reshape` to constant dimensions.
pub(crate) fn reshape(_: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let wanted = node.ints_or_input("shape", 1, 5)?.ok_or(Problem::InputMissing(1))?;
    let keep_zero = node.flag("allowzero")?;
    let invalid = || Problem::Invalid(format!("{:?} cannot become {wanted:?}", value.dims()));
    if wanted.len() > MAX_RANK {
        return Err(invalid());
    }
    let mut dims = Vec::new();
    let mut open = None;
    for (index, dim) in wanted.iter().enumerate() {
        dims.push(match *dim {
            0 if !keep_zero => *value.dims().get(index).ok_or_else(invalid)?,
            -1 if open.is_none() => {
                open = Some(index);
                1
            }
            dim => u64::try_from(dim).map_err(|_| invalid())?,
        });
    }
    if let Some(index) = open {
        let all = product(value.dims()).ok_or_else(invalid)?;
        let others = product(&dims).filter(|others| *others > 0).ok_or_else(invalid)?;
        dims[index] = all / others;
    }
    Ok(vec![value.reshaped(dims)?])
}

/// `Squeeze`: drops dimensions of 1.
pub(crate) fn squeeze(_: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let dims = value.dims();
    let dropped: Vec<usize> = match node.ints_or_input("axes", 1, 13)? {
        Some(axes) => {
            axes.iter().map(|index| axis(*index, dims.len())).collect::<Result<_, _>>()?
        }
        None => (0..dims.len()).filter(|index| dims[*index] == 1).collect(),
    };
    let kept = dims.iter().enumerate().filter(|(index, _)| !dropped.contains(index));
    let kept = kept.map(|(_, dim)| *dim).collect();
    Ok(vec![value.reshaped(kept)?])
}

/// `Unsqueeze`: inserts dimensions of 1.
pub(crate) fn unsqueeze(_: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let axes = node.ints_or_input("axes", 1, 13)?.ok_or(Problem::InputMissing(1))?;
    let rank = value.dims().len().saturating_add(axes.len());
    if rank > MAX_RANK {
        return Err(Problem::Invalid(format!("{rank} dimensions; at most {MAX_RANK}")));
    }
    let mut inserted: Vec<usize> =
        axes.iter().map(|index| axis(*index, rank)).collect::<Result<_, _>>()?;
    inserted.sort_unstable();
    let mut dims = value.dims().to_vec();
    for index in inserted {
        // With repeated axes there are too few dimensions for the later ones.
        if index > dims.len() {
            return Err(Problem::Invalid(format!("axes {axes:?} hold one axis twice")));
        }
        dims.insert(index, 1);
    }
    Ok(vec![value.reshaped(dims)?])
}

/// `Concat` along channels or rows; of constants (parts of shapes), along their only axis.
pub(crate) fn concat(import: &mut Import, node: &Node) -> Loaded {
    let rank = node.value(0)?.dims().len();
    let axis = axis(node.int("axis", 1)?, rank)?;
    if matches!(node.value(0)?, Value::Constant(_)) {
        return joined(node, rank);
    }
    let mut views = Vec::new();
    for index in 0..node.inputs().len() {
        views.push(import.make_channels_first(&node.name, node.view(index)?)?);
    }
    let op = match axis {
        1 => Op::Concat,
        2 => Op::Stack,
        _ => return Err(Problem::Unsupported(format!("joining along axis {axis}"))),
    };
    if let Some(view) = views.iter().find(|view| view.dims.len() != rank) {
        let wanted = format!("another input has {rank} dimensions");
        return Err(Problem::Dims { dims: view.dims.clone(), wanted });
    }
    match &views[..] {
        [view] => one(view.clone()),
        _ => one(import.layer(&node.name, op, &views.iter().collect::<Vec<_>>())?),
    }
}

/// Joins lists of integers.
fn joined(node: &Node, rank: usize) -> Loaded {
    let mut numbers = Vec::new();
    for index in 0..node.inputs().len() {
        let part = node.constant(index)?;
        if rank != 1 || part.dims.len() != 1 || part.element.is_float() {
            let wanted = "of constants only lists of integers are supported".to_owned();
            return Err(Problem::Dims { dims: part.dims.clone(), wanted });
        }
        numbers.extend(part.to_ints()?);
        if numbers.len() > MAX_RANK {
            return Err(Problem::Unsupported(format!("a list of over {MAX_RANK} integers")));
        }
    }
    let dims = vec![numbers.len() as u64];
    Ok(vec![Value::Constant(Constant::ints(&node.name, dims, &numbers))])
}
