//! Operators that compute nothing and only rearrange elements.

use serde::{Deserialize, Serialize};

use super::shape::Shape;

/// Evenly spaced indices along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pick {
    /// The first index.
    pub start: u32,
    /// The distance from one to the next; at least one.
    pub step: u32,
    /// How many there are; at least one.
    pub count: u32,
}

impl Pick {
    /// All of an axis of `len` indices.
    pub(crate) const fn all(len: u32) -> Pick {
        Pick { start: 0, step: 1, count: len }
    }

    /// The index at position `place`.
    pub(crate) const fn index(&self, place: u32) -> u32 {
        self.start + place * self.step
    }

    /// Whether it picks at least one index, and none beyond an axis of `len` indices.
    pub(crate) fn fits(&self, len: u32) -> bool {
        let last = |count: u32| u64::from(count) * u64::from(self.step) + u64::from(self.start);
        self.step > 0 && self.count.checked_sub(1).is_some_and(|rest| last(rest) < u64::from(len))
    }
}

/// Part of a map: some channels, rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Which channels.
    pub channels: Pick,
    /// Which rows.
    pub rows: Pick,
    /// Which columns.
    pub cols: Pick,
}

impl Slice {
    /// All of a map.
    pub(crate) const fn all(shape: Shape) -> Slice {
        Slice {
            channels: Pick::all(shape.channels),
            rows: Pick::all(shape.rows),
            cols: Pick::all(shape.width),
        }
    }

    /// The shape of the slice; `None` if it is empty or reaches beyond the map.
    pub(crate) fn shape(&self, input: Shape) -> Option<Shape> {
        let fits = self.channels.fits(input.channels)
            && self.rows.fits(input.rows)
            && self.cols.fits(input.width);
        fits.then(|| Shape::new(self.channels.count, self.rows.count, self.cols.count))
    }
}

/// All elements of a map in another order: the map is seen as an array of dimensions `dims` (the
/// last one varies fastest), its axes are permuted, and the result is seen as a map again.
///
/// ```text
/// map 6 x 1 x 4, dims [6, 4], axes [1, 0]:   c0 c1 c2 ... of column 0, then of column 1, ...
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reorder {
    /// The dimensions of the input as an array; none if the order of elements does not change.
    pub dims: Vec<u32>,
    /// Which of these axes comes first, second, ... in the result.
    pub axes: Vec<u32>,
    /// The result as a map.
    pub shape: Shape,
}

impl Reorder {
    /// A map of another shape with the elements in the same order.
    pub(crate) fn reshape(shape: Shape) -> Reorder {
        Reorder { dims: Vec::new(), axes: Vec::new(), shape }
    }

    /// Whether `dims` and `shape` have as many elements as `input`, and `axes` names every axis
    /// once.
    pub(crate) fn fits(&self, input: Shape) -> bool {
        let elements = input.elements();
        let product = self.dims.iter().try_fold(1u64, |all, dim| all.checked_mul((*dim).into()));
        let mut axes = self.axes.clone();
        axes.sort_unstable();
        (self.dims.is_empty() || product == Some(elements))
            && self.dims.len() == axes.len()
            && axes.iter().enumerate().all(|(place, axis)| place as u32 == *axis)
            && self.shape.checked_elements() == Some(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_stay_on_their_axis() {
        assert!(Pick { start: 1, step: 3, count: 3 }.fits(8));
        assert!(!Pick { start: 1, step: 3, count: 3 }.fits(7));
        assert!(!Pick { start: u32::MAX, step: u32::MAX, count: u32::MAX }.fits(u32::MAX));
        assert!(!Pick { count: 0, ..Pick::all(4) }.fits(4));
        assert!(!Pick { step: 0, ..Pick::all(4) }.fits(4));
    }

    #[test]
    fn orders_are_permutations() {
        let shape = Shape::new(6, 1, 4);
        let order = |dims: &[u32], axes: &[u32]| Reorder {
            dims: dims.to_vec(),
            axes: axes.to_vec(),
            shape: Shape::new(4, 6, 1),
        };
        assert!(order(&[6, 4], &[1, 0]).fits(shape));
        assert!(order(&[], &[]).fits(shape));
        assert!(!order(&[6, 4], &[1, 1]).fits(shape));
        assert!(!order(&[6, 5], &[1, 0]).fits(shape));
        assert!(!Reorder::reshape(Shape::new(u32::MAX, u32::MAX, u32::MAX)).fits(shape));
    }
}
