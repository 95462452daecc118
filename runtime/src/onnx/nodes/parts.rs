//! `Slice` and `Split`: parts of maps.

use super::loaded::Loaded;
use crate::graph::{Op, Pick, Slice, Stride};
use crate::onnx::constant::Constant;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value, View};
use crate::onnx::node::{Node, axis};

/// `Slice` with positive steps; of constants, a list of integers.
pub(crate) fn slice(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let picks = strides(node, value)?.into_iter().map(pick).collect::<Result<Vec<_>, _>>()?;
    match value {
        Value::View(view) => Ok(vec![Value::View(part(import, &node.name, view, &picks)?)]),
        Value::Constant(list) => match (&list.dims[..], &picks[..]) {
            ([_], [pick]) if !list.element.is_float() => {
                let numbers = list.to_ints()?;
                let picked: Vec<i64> =
                    (0..pick.count).map(|place| numbers[pick.index(place) as usize]).collect();
                let dims = vec![picked.len() as u64];
                Ok(vec![Value::Constant(Constant::ints(&node.name, dims, &picked))])
            }
            _ => {
                let wanted = "of constants only lists of integers are supported".to_owned();
                Err(Problem::Dims { dims: list.dims.clone(), wanted })
            }
        },
    }
}

/// `Split` along one axis.
pub(crate) fn split(import: &mut Import, node: &Node) -> Loaded {
    // A part cannot be folded into the layer that computes the whole: the other parts read it, too.
    let whole = import.make_channels_first(&node.name, node.view(0)?)?;
    let view = View { sole: false, ..whole };
    let at = axis(node.int("axis", 0)?, view.dims.len())?;
    let (total, outputs) = (view.dims[at] as i64, node.outputs() as i64);
    let lengths = node.ints_or_input("split", 1, 13)?;
    // Equal parts; the last one is smaller if the axis is not a multiple.
    let even = (total + outputs - 1) / outputs.max(1);
    let lengths = lengths.unwrap_or_else(|| {
        (0..outputs).map(|part| even.min((total - part * even).max(0))).collect()
    });
    let sum = lengths.iter().try_fold(0i64, |sum, length| sum.checked_add(*length));
    if sum != Some(total) || lengths.iter().any(|length| *length < 1) {
        let what = format!("parts of {lengths:?} of an axis of {total}");
        return Err(Problem::Invalid(what));
    }
    let whole: Vec<Pick> = view.dims.iter().map(|dim| Pick::all(*dim as u32)).collect();
    let mut start = 0;
    let mut parts = Vec::new();
    for length in lengths {
        let mut picks = whole.clone();
        picks[at] = Pick { start, step: 1, count: length as u32 };
        start += length as u32;
        let name = import.unique_name(&format!("{}/{}", node.name, parts.len()));
        parts.push(Value::View(part(import, &name, &view, &picks)?));
    }
    Ok(parts)
}

/// What a `Slice` takes of every axis of its input.
pub(super) fn strides(node: &Node, value: &Value) -> Result<Vec<Stride>, Problem> {
    let list = |name: &str, index| {
        node.ints_or_input(name, index, 10)?.ok_or(Problem::InputMissing(index))
    };
    let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
    let axes = node.ints_or_input("axes", 3, 10)?;
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if node.opset < 10 { None } else { node.ints_or_input("steps", 4, 10)? };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Problem::Invalid("starts, ends, axes and steps differ in number".to_owned()));
    }
    let mut strides = all_of(value)?;
    for (((start, end), which), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let stride = &mut strides[axis(*which, value.dims().len())?];
        *stride = range(*start, *end, *step, stride.count)?;
    }
    Ok(strides)
}

/// All of every axis.
pub(super) fn all_of(value: &Value) -> Result<Vec<Stride>, Problem> {
    let all = value.dims().iter().map(|dim| u32::try_from(*dim).ok().map(Stride::all));
    all.collect::<Option<_>>()
        .ok_or_else(|| Problem::Dims { dims: value.dims().to_vec(), wanted: "small".to_owned() })
}

/// The indices from `start` to `end`, which may be relative to the end of an axis of `len`.
fn range(start: i64, end: i64, step: i64, len: u32) -> Result<Stride, Problem> {
    let all = i64::from(len);
    let from_end = |index: i64| if index < 0 { index.saturating_add(all) } else { index };
    // Upwards from 0 up to `all`, downwards from the last one to before the first.
    let (least, most) = if step > 0 { (0, all) } else { (-1, all - 1) };
    let [start, end] = [start, end].map(|index| from_end(index).clamp(least, most));
    let distance = if step > 0 { end - start } else { start - end };
    if step == 0 {
        return Err(Problem::Invalid("a step of 0".to_owned()));
    }
    let step = step.clamp(-(1 << 30), 1 << 30);
    match u32::try_from((distance.max(0) as u64).div_ceil(step.unsigned_abs())) {
        Ok(0) | Err(_) => Err(Problem::Invalid(format!("nothing of an axis of {len} is left"))),
        Ok(count) => Ok(Stride { start: start as u32, step: step as i32, count }),
    }
}

/// A stride upwards, as maps have it.
fn pick(stride: Stride) -> Result<Pick, Problem> {
    let step = u32::try_from(stride.step);
    let step = step.map_err(|_| Problem::Unsupported(format!("steps of {}", stride.step)))?;
    Ok(Pick { start: stride.start, step, count: stride.count })
}

/// The picked part of a view: in the slice that computes it, or in a layer of its own.
fn part(import: &mut Import, name: &str, view: &View, picks: &[Pick]) -> Result<View, Problem> {
    let whole = picks.iter().zip(&view.dims).all(|(pick, dim)| u64::from(pick.count) == *dim);
    if whole {
        return Ok(view.clone());
    }
    let view = import.make_channels_first(name, view)?;
    if picks[0].count != 1 {
        return Err(Problem::Invalid("more than one picture".to_owned()));
    }
    let pick = |index: usize| picks.get(index).copied().unwrap_or(Pick::all(1));
    let slice = Slice { channels: pick(1), rows: pick(2), cols: pick(3) };
    let dims: Vec<u64> = picks.iter().map(|pick| pick.count.into()).collect();
    let before = match import.foldable(&view).map(|index| &import.layers[index].op) {
        Some(Op::Slice(before)) => Some(*before),
        _ => None,
    };
    match before {
        Some(before) => import.replace(&view, Op::Slice(composed(&before, &slice)))?.reshaped(dims),
        None => import.layer(name, Op::Slice(slice), &[&view])?.reshaped(dims),
    }
}

/// A part of a part.
fn composed(outer: &Slice, inner: &Slice) -> Slice {
    let pick = |outer: Pick, inner: Pick| Pick {
        start: outer.index(inner.start),
        step: outer.step.saturating_mul(inner.step),
        count: inner.count,
    };
    Slice {
        channels: pick(outer.channels, inner.channels),
        rows: pick(outer.rows, inner.rows),
        cols: pick(outer.cols, inner.cols),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_count_from_the_end_and_go_both_ways() {
        let stride = |start, end, step| range(start, end, step, 10).ok();
        assert_eq!(stride(1, i64::MAX, 3), Some(Stride { start: 1, step: 3, count: 3 }));
        assert_eq!(stride(-3, -1, 1), Some(Stride { start: 7, step: 1, count: 2 }));
        assert_eq!(stride(-1, i64::MIN, -1), Some(Stride { start: 9, step: -1, count: 10 }));
        assert_eq!(stride(20, 0, -4), Some(Stride { start: 9, step: -4, count: 3 }));
        assert_eq!(stride(2, 2, 1), None);
        assert_eq!(stride(2, 4, 0), None);
        assert_eq!(stride(2, 4, -1), None);
        assert!(pick(Stride { start: 9, step: -1, count: 2 }).is_err());
    }

    #[test]
    fn a_part_of_a_part_is_a_part() {
        let all = Slice::all(crate::graph::Shape::new(4, 10, 10));
        let odd = Slice { rows: Pick { start: 1, step: 2, count: 5 }, ..all };
        let last = Slice { rows: Pick { start: 3, step: 1, count: 2 }, ..all };
        assert_eq!(composed(&odd, &last).rows, Pick { start: 7, step: 2, count: 2 });
    }
}
