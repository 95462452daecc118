//! Elements put where indices say.

use super::array::{Array, distances, each_index, place};
use crate::graph::Combine;

impl Combine {
    fn of(self, held: f32, update: f32) -> f32 {
        match self {
            Combine::Replace => update,
            Combine::Add => held + update,
            Combine::Mul => held * update,
            Combine::Max => held.max(update),
            Combine::Min => held.min(update),
        }
    }
}

/// `x` with elements of `updates` at their indices along an axis.
pub(super) fn scatter_elements(
    x: &Array<'_>,
    indices: &Array<'_>,
    updates: &Array<'_>,
    axis: usize,
    by: Combine,
) -> Vec<f32> {
    let mut result = x.elements.to_vec();
    let distances = distances(&x.dims);
    let mut changes = indices.elements.iter().zip(updates.elements);
    each_index(&indices.dims, |index| {
        let Some((along, update)) = changes.next() else { return };
        let others = index.iter().zip(&distances).enumerate();
        let others = others.filter(|(other, _)| *other != axis);
        let at = others.map(|(_, (i, distance))| i * distance).sum::<usize>();
        let held = &mut result[at + place(*along, x.dims[axis]) * distances[axis]];
        *held = by.of(*held, *update);
    });
    result
}

/// `x` with slices of `updates` at their indices along the first axes.
pub(super) fn scatter_nd(
    x: &Array<'_>,
    indices: &Array<'_>,
    updates: &Array<'_>,
    by: Combine,
) -> Vec<f32> {
    let mut result = x.elements.to_vec();
    let count = indices.dims.last().copied().unwrap_or(1);
    let distances = distances(&x.dims);
    let inner = x.dims[count..].iter().product::<usize>();
    let places = indices.elements.chunks_exact(count).zip(updates.elements.chunks_exact(inner));
    for (index, update) in places {
        let axes = index.iter().zip(&x.dims).zip(&distances);
        let at = axes.map(|((i, len), distance)| place(*i, *len) * distance).sum::<usize>();
        let held = result[at..at + inner].iter_mut();
        held.zip(update).for_each(|(held, update)| *held = by.of(*held, *update));
    }
    result
}
