//! Operators that reorder elements.

use std::sync::Arc;

use super::loaded::{Loaded, one};
use crate::graph::{Op, Reorder, Shape};
use crate::onnx::constant::{Constant, Data};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value, View};
use crate::onnx::node::Node;

/// `Transpose`: another view if only dimensions of 1 move, a shuffle of channels if possible,
/// otherwise a reordering of all elements.
pub(crate) fn transpose(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let axes = permutation(node, value.dims().len())?;
    Ok(vec![permuted(import, &node.name, value, &axes)?])
}

/// The order that a `Transpose` gives to `rank` axes.
pub(crate) fn permutation(node: &Node, rank: usize) -> Result<Vec<usize>, Problem> {
    Ok(match node.ints("perm")? {
        Some(axes) => {
            let axes: Option<Vec<usize>> =
                axes.iter().map(|axis| usize::try_from(*axis).ok()).collect();
            let mut sorted = axes.clone().unwrap_or_default();
            sorted.sort_unstable();
            let complete = sorted.into_iter().eq(0..rank);
            let wanted = "every axis once";
            let problem = || Problem::Attribute { name: "perm".to_owned(), wanted };
            axes.filter(|_| complete).ok_or_else(problem)?
        }
        None => (0..rank).rev().collect(),
    })
}

/// Whether no element moves if the axes of an array are put into another order.
pub(crate) fn is_reshape(dims: &[u64], axes: &[usize]) -> bool {
    Order::of(dims, axes).axes.len() < 2
}

/// A value with its axes in another order; each of them is in `axes` once.
pub(crate) fn permuted(
    import: &mut Import,
    name: &str,
    value: &Value,
    axes: &[usize],
) -> Result<Value, Problem> {
    if axes.len() != value.dims().len() {
        let wanted = format!("{} dimensions are needed", axes.len());
        return Err(Problem::Dims { dims: value.dims().to_vec(), wanted });
    }
    let dims: Vec<u64> = axes.iter().map(|axis| value.dims()[*axis]).collect();
    let order = Order::of(value.dims(), axes);
    match value {
        _ if order.axes.len() < 2 => value.reshaped(dims),
        Value::View(view) => Ok(Value::View(reordered(import, name, view, order, dims)?)),
        Value::Constant(constant) => Ok(Value::Constant(moved(constant, &order, dims)?)),
    }
}

/// `DepthToSpace`.
pub(crate) fn depth_to_space(import: &mut Import, node: &Node) -> Loaded {
    let (view, _) = import.map(&node.name, node.view(0)?)?;
    let block = block(node)?;
    let view = match node.text("mode")? {
        "CRD" => view,
        "" | "DCR" => {
            let name = import.unique_name(&format!("{}/shuffle", node.name));
            import.layer(&name, Op::Shuffle { groups: block * block }, &[&view])?
        }
        mode => return Err(Problem::Unsupported(format!("mode {mode}"))),
    };
    one(import.layer(&node.name, Op::DepthToSpace { block }, &[&view])?)
}

/// The block of a picture's rows and columns that becomes channels, or the other way.
pub(super) fn block(node: &Node) -> Result<u32, Problem> {
    let wanted = "an integer from 1 to 256";
    let block = u32::try_from(node.int("blocksize", 0)?).ok().filter(|b| (1..=256).contains(b));
    block.ok_or_else(|| Problem::Attribute { name: "blocksize".to_owned(), wanted })
}

/// An array's dimensions and their permutation, without dimensions of 1, and with neighbours that
/// stay neighbours merged.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    dims: Vec<u64>,
    axes: Vec<usize>,
}

impl Order {
    fn of(dims: &[u64], axes: &[usize]) -> Order {
        let real: Vec<usize> = (0..dims.len()).filter(|axis| dims[*axis] != 1).collect();
        let place = |axis: usize| real.binary_search(&axis).ok();
        // Merged axes, by first and last.
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for axis in axes.iter().filter_map(|axis| place(*axis)) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == axis => *last = axis,
                _ => runs.push((axis, axis)),
            }
        }
        let mut sorted = runs.clone();
        sorted.sort_unstable();
        let dim = |(first, last): &(usize, usize)| {
            real[*first..=*last].iter().map(|axis| dims[*axis]).product()
        };
        Order {
            dims: sorted.iter().map(dim).collect(),
            axes: runs.iter().map(|run| sorted.partition_point(|other| other < run)).collect(),
        }
    }
}

fn reordered(
    import: &mut Import,
    name: &str,
    view: &View,
    order: Order,
    dims: Vec<u64>,
) -> Result<View, Problem> {
    let shape = import.shape(view);
    let [channels, pixels] =
        [shape.channels.into(), u64::from(shape.rows) * u64::from(shape.width)];
    let dealt_out = order.dims[0] * order.dims[1] == channels
        && order.dims[2..].iter().product::<u64>() == pixels
        && order.axes.iter().take(2).eq([&1, &0])
        && order.axes.len() <= 3;
    // Bounded by 2^30 elements, as all tensors are.
    let narrow = |dim: u64| dim as u32;
    let op = if dealt_out {
        Op::Shuffle { groups: narrow(order.dims[0]) }
    } else {
        let sides = if dims[0] == 1 { &dims[1..] } else { &dims[..] };
        let (outer, inner) = sides.split_at(sides.len().saturating_sub(2).max(1).min(sides.len()));
        let side = |index: usize| inner.get(index).map_or(1, |dim| narrow(*dim));
        let shape = Shape::new(narrow(outer.iter().product()), side(0), side(1));
        Op::Reorder(Reorder {
            dims: order.dims.into_iter().map(narrow).collect(),
            axes: order.axes.into_iter().map(|axis| axis as u32).collect(),
            shape,
        })
    };
    let name = import.unique_name(name);
    import.layer(&name, op, &[view])?.reshaped(dims)
}

/// A constant's elements in a new order.
fn moved(constant: &Constant, order: &Order, dims: Vec<u64>) -> Result<Constant, Problem> {
    if let Data::Fill(_) = constant.data {
        return Ok(Constant { dims, ..constant.clone() });
    }
    let (bytes, size) = (constant.bytes()?, constant.element.size() as usize);
    let distance = |axis: &usize| order.dims[axis + 1..].iter().product::<u64>();
    let axes: Vec<(u64, u64)> =
        order.axes.iter().map(|axis| (order.dims[*axis], distance(axis))).collect();
    let mut data = Vec::with_capacity(bytes.len());
    for number in 0..constant.elements() {
        let mut source = 0;
        axes.iter().rev().fold(number, |index, (dim, distance)| {
            source += index % dim * distance;
            index / dim
        });
        data.extend_from_slice(&bytes[source as usize * size..][..size]);
    }
    Ok(Constant { dims, data: Data::Held(Arc::from(data)), ..constant.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_stay_neighbours_are_one_axis() {
        let order = Order::of(&[1, 3, 4, 5, 6], &[0, 2, 1, 3, 4]);
        assert_eq!(order, Order { dims: vec![3, 4, 30], axes: vec![1, 0, 2] });
        let order = Order::of(&[1, 8, 5, 6], &[0, 2, 3, 1]);
        assert_eq!(order, Order { dims: vec![8, 30], axes: vec![1, 0] });
        assert!(Order::of(&[1, 8, 1, 6], &[0, 1, 3, 2]).axes.len() < 2);
        assert!(Order::of(&[1, 1], &[1, 0]).axes.is_empty());
    }
}
