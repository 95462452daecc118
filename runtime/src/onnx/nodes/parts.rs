//! `Slice` and `Split`: parts of maps.

use super::loaded::Loaded;
use crate::graph::{Layer, Op, Pick, Slice};
use crate::onnx::constant::Constant;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value, View};
use crate::onnx::node::{Node, axis};

/// `Slice` with positive steps; of constants, a list of integers.
pub(crate) fn slice(import: &mut Import, node: &Node) -> Loaded {
    let value = node.value(0)?;
    let needed = |list: Option<Vec<i64>>, index| list.ok_or(Problem::InputMissing(index));
    let starts = needed(node.ints_or_input("starts", 1, 10)?, 1)?;
    let ends = needed(node.ints_or_input("ends", 2, 10)?, 2)?;
    let axes = node.ints_or_input("axes", 3, 10)?;
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if node.opset < 10 { None } else { node.ints_or_input("steps", 4, 10)? };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Problem::Invalid("starts, ends, axes and steps differ in number".to_owned()));
    }
    let rank = value.dims().len();
    let mut picks = value
        .dims()
        .iter()
        .map(|dim| u32::try_from(*dim).map(Pick::all))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Problem::Dims { dims: value.dims().to_vec(), wanted: "small".to_owned() })?;
    for (((start, end), which), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let pick = &mut picks[axis(*which, rank)?];
        *pick = range(*start, *end, *step, pick.count)?;
    }
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

/// The indices in `start..end`, which may be relative to the end of an axis of `len`.
fn range(start: i64, end: i64, step: i64, len: u32) -> Result<Pick, Problem> {
    let Some(step) = u32::try_from(step).ok().filter(|step| *step > 0) else {
        return Err(Problem::Unsupported(format!("steps of {step}")));
    };
    let clamp = |index: i64| {
        let index = if index < 0 { index.saturating_add(len.into()) } else { index };
        index.clamp(0, len.into()) as u32
    };
    let (start, end) = (clamp(start), clamp(end));
    match end.saturating_sub(start).div_ceil(step) {
        0 => Err(Problem::Invalid(format!("nothing of an axis of {len} is left"))),
        count => Ok(Pick { start, step, count }),
    }
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
    let before = match import.foldable(&view) {
        Some(Layer { op: Op::Slice(before), .. }) => Some(*before),
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
    fn ranges_are_clamped_and_count_from_the_end() {
        let pick = |start, end, step| range(start, end, step, 10).ok();
        assert_eq!(pick(1, i64::MAX, 3), Some(Pick { start: 1, step: 3, count: 3 }));
        assert_eq!(pick(-3, -1, 1), Some(Pick { start: 7, step: 1, count: 2 }));
        assert_eq!(pick(4, 4, 1), None);
        assert_eq!(pick(4, 0, -1), None);
    }

    #[test]
    fn a_part_of_a_part_is_a_part() {
        let all = Slice::all(crate::graph::Shape::new(4, 10, 10));
        let odd = Slice { rows: Pick { start: 1, step: 2, count: 5 }, ..all };
        let last = Slice { rows: Pick { start: 3, step: 1, count: 2 }, ..all };
        assert_eq!(composed(&odd, &last).rows, Pick { start: 7, step: 2, count: 2 });
    }
}
