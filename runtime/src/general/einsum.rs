//! Sums of products over named axes.

use super::array::{Array, distances, each_index};
use crate::graph::Einsum;

/// Walks over all letters: those of the result, then those that are summed over.
pub(super) fn einsum(sum: &Einsum, inputs: &[Array<'_>], dims: &[usize]) -> Vec<f32> {
    let mut letters = sum.output.clone();
    let mut lens = dims.to_vec();
    for (names, array) in sum.inputs.iter().zip(inputs) {
        for (letter, len) in names.iter().zip(&array.dims) {
            if !letters.contains(letter) {
                letters.push(*letter);
                lens.push(*len);
            }
        }
    }
    // By input: how far its elements are apart along every letter, which may name two of its axes.
    let steps: Vec<Vec<usize>> = (sum.inputs.iter().zip(inputs))
        .map(|(names, array)| {
            let distances = distances(&array.dims);
            let along = |letter: &u8| {
                let named = names.iter().zip(&distances).filter(|(name, _)| *name == letter);
                named.map(|(_, distance)| distance).sum()
            };
            letters.iter().map(along).collect()
        })
        .collect();
    let (outer, inner) = lens.split_at(dims.len());
    let mut result = Vec::with_capacity(outer.iter().product());
    let mut starts = vec![0; inputs.len()];
    each_index(outer, |index| {
        let at = |steps: &[usize], index: &[usize]| {
            index.iter().zip(steps).map(|(i, step)| i * step).sum::<usize>()
        };
        for (start, steps) in starts.iter_mut().zip(&steps) {
            *start = at(steps, index);
        }
        let mut total = 0.0f32;
        each_index(inner, |index| {
            let factors = inputs.iter().zip(&steps).zip(&starts);
            total += factors
                .map(|((array, steps), start)| {
                    array.elements[start + at(&steps[outer.len()..], index)]
                })
                .product::<f32>();
        });
        result.push(total);
    });
    result
}
