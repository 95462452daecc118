//! Elements by their index: parts, repetition, borders, gathering.

use super::array::{Array, distances, each_index, place, repeated};
use crate::graph::{PadMode, Stride};

/// Repeated along dimensions of 1.
pub(super) fn expand(x: &Array<'_>, dims: &[usize]) -> Vec<f32> {
    let steps = repeated(x, dims);
    picked(x, dims, |index| index.iter().zip(&steps).map(|(i, step)| i * step).sum())
}

/// One after another along an axis.
pub(super) fn concat(inputs: &[Array<'_>], axis: usize, dims: &[usize]) -> Vec<f32> {
    let outer = dims[..axis].iter().product::<usize>();
    let mut result = Vec::with_capacity(dims.iter().product());
    for part in 0..outer {
        for input in inputs {
            let len = input.elements.len() / outer;
            result.extend_from_slice(&input.elements[part * len..(part + 1) * len]);
        }
    }
    result
}

/// Evenly spaced indices along every axis.
pub(super) fn slice(x: &Array<'_>, strides: &[Stride], dims: &[usize]) -> Vec<f32> {
    let distances = distances(&x.dims);
    picked(x, dims, |index| {
        let axes = index.iter().zip(strides).zip(&distances);
        axes.map(|((i, stride), distance)| {
            let at = i64::from(stride.start) + *i as i64 * i64::from(stride.step);
            at as usize * distance
        })
        .sum()
    })
}

/// With elements added, or left out, at the ends of every axis.
pub(super) fn pad(x: &Array<'_>, mode: PadMode, before: &[i32], dims: &[usize]) -> Vec<f32> {
    let distances = distances(&x.dims);
    let mut result = Vec::with_capacity(dims.iter().product());
    each_index(dims, |index| {
        let mut at = 0;
        let mut outside = None;
        for (axis, i) in index.iter().enumerate() {
            let place = *i as i64 - i64::from(before[axis]);
            match inside(place, x.dims[axis] as i64, mode) {
                Ok(place) => at += place as usize * distances[axis],
                Err(value) => outside = Some(value),
            }
        }
        result.push(outside.unwrap_or_else(|| x.elements[at]));
    });
    result
}

/// The index of what lies at `place` of an axis, or the number that lies outside of it.
pub(super) fn inside(place: i64, len: i64, mode: PadMode) -> Result<i64, f32> {
    if (0..len).contains(&place) {
        return Ok(place);
    }
    Ok(match mode {
        PadMode::Constant(value) => return Err(value),
        PadMode::Edge => place.clamp(0, len - 1),
        PadMode::Wrap => place.rem_euclid(len),
        PadMode::Reflect if len == 1 => 0,
        PadMode::Reflect => {
            let period = 2 * (len - 1);
            let place = place.rem_euclid(period);
            place.min(period - place)
        }
    })
}

/// Slices along an axis, by index.
pub(super) fn gather(x: &Array<'_>, indices: &Array<'_>, axis: usize) -> Vec<f32> {
    let (outer, len, inner) = x.around(axis);
    let mut result = Vec::with_capacity(outer * indices.elements.len() * inner);
    for part in 0..outer {
        for index in indices.elements {
            let at = (part * len + place(*index, len)) * inner;
            result.extend_from_slice(&x.elements[at..at + inner]);
        }
    }
    result
}

/// Elements by their index along an axis.
pub(super) fn gather_elements(x: &Array<'_>, indices: &Array<'_>, axis: usize) -> Vec<f32> {
    let distances = distances(&x.dims);
    let mut result = Vec::with_capacity(indices.elements.len());
    let mut chosen = indices.elements.iter();
    each_index(&indices.dims, |index| {
        let along = place(*chosen.next().unwrap_or(&0.0), x.dims[axis]);
        let others = index.iter().zip(&distances).enumerate();
        let others = others.filter(|(other, _)| *other != axis);
        let at = others.map(|(_, (i, distance))| i * distance).sum::<usize>();
        result.push(x.elements[at + along * distances[axis]]);
    });
    result
}

/// Slices by their indices along the first axes behind the common ones.
pub(super) fn gather_nd(x: &Array<'_>, indices: &Array<'_>, batch: usize) -> Vec<f32> {
    let count = indices.dims.last().copied().unwrap_or(1);
    let distances = distances(&x.dims);
    let lens = &x.dims[batch..batch + count];
    let inner = x.dims[batch + count..].iter().product::<usize>();
    let common = x.dims[..batch].iter().product::<usize>();
    let per_batch = indices.elements.len() / count / common;
    let mut result = Vec::with_capacity(common * per_batch * inner);
    for (number, index) in indices.elements.chunks_exact(count).enumerate() {
        let start = number / per_batch * (x.elements.len() / common);
        let axes = index.iter().zip(lens).zip(&distances[batch..]);
        let at = axes.map(|((i, len), distance)| place(*i, *len) * distance).sum::<usize>();
        result.extend_from_slice(&x.elements[start + at..start + at + inner]);
    }
    result
}

/// 1 at the index that `x` says along a new axis; nowhere if it says one that is not there.
pub(super) fn one_hot(x: &Array<'_>, axis: usize, depth: u32, dims: &[usize]) -> Vec<f32> {
    let mut result = vec![0.0; dims.iter().product()];
    let inner = x.dims[axis..].iter().product::<usize>();
    let depth = i64::from(depth);
    for (number, index) in x.elements.iter().enumerate() {
        let index = *index as i64;
        if (-depth..depth).contains(&index) {
            let along = index.rem_euclid(depth) as usize;
            result[(number / inner * depth as usize + along) * inner + number % inner] = 1.0;
        }
    }
    result
}

/// The first `count` elements along an axis in order, or their indices.
pub(super) fn top_k(
    x: &Array<'_>,
    axis: usize,
    count: usize,
    largest: bool,
    indices: bool,
) -> Vec<f32> {
    let (outer, len, inner) = x.around(axis);
    let mut result = vec![0.0; outer * count * inner];
    let mut order: Vec<usize> = Vec::with_capacity(len);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let value = |at: usize| x.elements[(o * len + at) * inner + i];
        order.clear();
        order.extend(0..len);
        order.sort_by(|a, b| match largest {
            true => value(*b).total_cmp(&value(*a)),
            false => value(*a).total_cmp(&value(*b)),
        });
        for (place, at) in order.iter().take(count).enumerate() {
            let found = if indices { *at as f32 } else { value(*at) };
            result[(o * count + place) * inner + i] = found;
        }
    }
    result
}

/// Matrices with zeros on one side of a diagonal.
pub(super) fn triangle(x: &Array<'_>, upper: bool, offset: i64) -> Vec<f32> {
    let [.., rows, cols] = x.dims[..] else { return x.elements.to_vec() };
    let kept = |at: usize| {
        let (row, column) = ((at / cols % rows) as i64, (at % cols) as i64);
        let above = column.saturating_sub(row);
        if upper { above >= offset } else { above <= offset }
    };
    let elements = x.elements.iter().enumerate();
    elements.map(|(at, value)| if kept(at) { *value } else { 0.0 }).collect()
}

/// Elements of `x`, for every index of a result of these dimensions.
fn picked(x: &Array<'_>, dims: &[usize], at: impl Fn(&[usize]) -> usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(dims.iter().product());
    each_index(dims, |index| result.push(x.elements[at(index)]));
    result
}
