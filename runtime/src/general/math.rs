//! Arithmetic by burn's operators: products of matrices, reductions, softmax, normalisation.

use burn::tensor::activation;

use super::array::{Array, elements};
use super::binary::binary;
use super::index::expand;
use crate::graph::{Binary, Reduce};
use crate::kernel::memory::storage::{self, Tensor};

/// Products of the last two axes.
pub(super) fn matmul(a: &Array<'_>, b: &Array<'_>, dims: &[usize]) -> Vec<f32> {
    let outer = &dims[..dims.len() - 2];
    let batch: usize = outer.iter().product();
    // Matrices that are shared are repeated first: burn's backend takes one axis of batches.
    let matrices = |array: &Array<'_>| {
        let own = &array.dims[array.dims.len() - 2..];
        let all = [outer, own].concat();
        let elements = match array.dims == all {
            true => array.elements.to_vec(),
            false => expand(array, &all),
        };
        storage::tensor_of([batch, own[0], own[1]], elements)
    };
    elements(matrices(a).matmul(matrices(b)))
}

/// A tensor as what lies before an axis, along it, and behind it: burn's backend has operators for
/// up to six axes.
fn along(x: &Array<'_>, axis: usize) -> Tensor<3> {
    let (outer, len, inner) = x.around(axis);
    storage::tensor_of([outer, len, inner], x.elements.to_vec())
}

/// One axis after another, by an operator along the middle axis.
fn over(x: &Array<'_>, axes: &[u32], step: fn(Tensor<3>) -> Tensor<3>) -> Vec<f32> {
    let mut dims = x.dims.clone();
    let mut result = x.elements.to_vec();
    for axis in axes {
        let axis = *axis as usize;
        result = elements(step(along(&Array { dims: dims.clone(), elements: &result }, axis)));
        dims[axis] = 1;
    }
    result
}

/// Over `axes`, of which dimensions of 1 remain.
pub(super) fn reduce(by: Reduce, x: &Array<'_>, axes: &[u32]) -> Vec<f32> {
    let sum = |elements: &[f32]| {
        over(&Array { dims: x.dims.clone(), elements }, axes, |tensor| tensor.sum_dim(1))
    };
    let max = || over(x, axes, |tensor| tensor.max_dim(1));
    let each = |value: fn(f32) -> f32| -> Vec<f32> {
        x.elements.iter().map(|element| value(*element)).collect()
    };
    let then = |mut result: Vec<f32>, value: fn(f32) -> f32| {
        result.iter_mut().for_each(|element| *element = value(*element));
        result
    };
    match by {
        Reduce::Sum => sum(x.elements),
        Reduce::Mean => over(x, axes, |tensor| tensor.mean_dim(1)),
        Reduce::Max => max(),
        Reduce::Min => over(x, axes, |tensor| tensor.min_dim(1)),
        Reduce::Prod => over(x, axes, |tensor| tensor.prod_dim(1)),
        Reduce::L1 => sum(&each(f32::abs)),
        Reduce::L2 => then(sum(&each(|x| x * x)), f32::sqrt),
        Reduce::SumSquare => sum(&each(|x| x * x)),
        Reduce::LogSum => then(sum(x.elements), libm::logf),
        Reduce::LogSumExp => {
            // Where all are the negative infinity, their differences are none.
            let largest = then(max(), |largest| largest.max(f32::MIN));
            let centred = centred(x, &largest, axes);
            let sums = then(sum(&then(centred, libm::expf)), libm::logf);
            sums.iter().zip(largest).map(|(sum, largest)| sum + largest).collect()
        }
    }
}

/// Minus numbers that are the same along `axes`.
fn centred(x: &Array<'_>, numbers: &[f32], axes: &[u32]) -> Vec<f32> {
    binary(Binary::Sub, x, &repeated(x, numbers, axes), &x.dims)
}

/// Numbers that are the same along `axes` of a tensor.
fn repeated<'a>(x: &Array<'_>, numbers: &'a [f32], axes: &[u32]) -> Array<'a> {
    let mut dims = x.dims.clone();
    axes.iter().for_each(|axis| dims[*axis as usize] = 1);
    Array { dims, elements: numbers }
}

/// The index of the largest or least element along an axis.
pub(super) fn arg_extreme(x: &Array<'_>, axis: usize, least: bool, last: bool) -> Vec<f32> {
    let (outer, len, inner) = x.around(axis);
    let mut result = Vec::with_capacity(outer * inner);
    for start in (0..outer).flat_map(|o| (0..inner).map(move |i| o * len * inner + i)) {
        let mut best = 0;
        for at in 1..len {
            let (value, held) = (x.elements[start + at * inner], x.elements[start + best * inner]);
            let beats = if least { value < held } else { value > held };
            if beats || last && value == held {
                best = at;
            }
        }
        result.push(best as f32);
    }
    result
}

/// Exponentials over their sum along an axis, or the logarithm of that.
pub(super) fn softmax(x: &Array<'_>, axis: usize, log: bool) -> Vec<f32> {
    elements(match log {
        true => activation::log_softmax(along(x, axis), 1),
        false => activation::softmax(along(x, axis), 1),
    })
}

/// 1 for the first of the largest elements along an axis.
pub(super) fn hardmax(x: &Array<'_>, axis: usize) -> Vec<f32> {
    let (_, len, inner) = x.around(axis);
    let mut result = vec![0.0; x.elements.len()];
    for (number, largest) in arg_extreme(x, axis, false, false).into_iter().enumerate() {
        let (o, i) = (number / inner, number % inner);
        result[(o * len + largest as usize) * inner + i] = 1.0;
    }
    result
}

/// Minus the mean, over the standard deviation, over `axes`.
pub(super) fn normalise(x: &Array<'_>, axes: &[u32], epsilon: f32) -> Vec<f32> {
    let centred = centred(x, &reduce(Reduce::Mean, x, axes), axes);
    let squares: Vec<f32> = centred.iter().map(|x| x * x).collect();
    let squares = Array { dims: x.dims.clone(), elements: &squares };
    let mut deviations = reduce(Reduce::Mean, &squares, axes);
    deviations.iter_mut().for_each(|variance| *variance = (*variance + epsilon).sqrt());
    let centred = Array { dims: x.dims.clone(), elements: &centred };
    binary(Binary::Div, &centred, &repeated(x, &deviations, axes), &x.dims)
}

/// Sums of all elements up to each along an axis.
pub(super) fn cumulative_sum(
    x: &Array<'_>,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Vec<f32> {
    let (outer, len, inner) = x.around(axis);
    let mut result = vec![0.0; x.elements.len()];
    for start in (0..outer).flat_map(|o| (0..inner).map(move |i| o * len * inner + i)) {
        let mut sum = 0.0;
        for step in 0..len {
            let at = start + if reverse { len - 1 - step } else { step } * inner;
            let before = sum;
            sum += x.elements[at];
            result[at] = if exclusive { before } else { sum };
        }
    }
    result
}
