//! A tensor of any rank: dimensions, and elements in row-major order.

use crate::kernel::memory::storage::{self, Tensor};

/// A tensor that somebody else holds.
#[derive(Debug, Clone)]
pub(super) struct Array<'a> {
    /// Its dimensions.
    pub(super) dims: Vec<usize>,
    /// Its elements; the last index varies fastest.
    pub(super) elements: &'a [f32],
}

impl<'a> Array<'a> {
    /// `None` if there are not as many elements as `dims` say.
    pub(super) fn new(dims: &[u32], elements: &'a [f32]) -> Option<Array<'a>> {
        let dims = lengths(dims);
        let count = dims.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim))?;
        (count == elements.len()).then_some(Array { dims, elements })
    }

    /// How many elements lie before an axis, along it, and behind it.
    pub(super) fn around(&self, axis: usize) -> (usize, usize, usize) {
        let count = |dims: &[usize]| dims.iter().product();
        (count(&self.dims[..axis]), self.dims[axis], count(&self.dims[axis + 1..]))
    }
}

/// Dimensions as numbers of elements in memory.
pub(super) fn lengths(dims: &[u32]) -> Vec<usize> {
    dims.iter().map(|dim| *dim as usize).collect()
}

/// The elements of one of burn's tensors.
pub(super) fn elements<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    storage::elements(&storage::in_order(tensor)).to_vec()
}

/// How far elements are apart along each axis.
pub(super) fn distances(dims: &[usize]) -> Vec<usize> {
    let mut distances = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        distances[axis - 1] = distances[axis] * dims[axis];
    }
    distances
}

/// How far elements are apart along the axes of `dims`; 0 along those on which it is repeated.
pub(super) fn repeated(array: &Array<'_>, dims: &[usize]) -> Vec<usize> {
    let missing = dims.len() - array.dims.len();
    let own = array.dims.iter().zip(distances(&array.dims));
    let own = own.map(|(dim, distance)| if *dim == 1 { 0 } else { distance });
    std::iter::repeat_n(0, missing).chain(own).collect()
}

/// Calls `work` with every index of a tensor of these dimensions, in order.
pub(super) fn each_index(dims: &[usize], mut work: impl FnMut(&[usize])) {
    let count: usize = dims.iter().product();
    let mut index = vec![0; dims.len()];
    for _ in 0..count {
        work(&index);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// An index from a tensor: negative ones count from the end, and those outside of the axis are
/// moved to its border, since no input may make a panic.
pub(super) fn place(index: f32, len: usize) -> usize {
    let index = index as i64;
    let index = if index < 0 { index.saturating_add(len as i64) } else { index };
    index.clamp(0, len as i64 - 1) as usize
}
