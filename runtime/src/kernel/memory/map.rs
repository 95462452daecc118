//! A region of a tensor in memory.
//!
//! A map stores float32 in the order blocks of channels x rows x width x lanes; with one lane that
//! is plain NCHW. Blocks are those of the whole tensor: channel c is lane c % lanes of block
//! c / lanes, whatever region a map holds. If the region covers only part of a block, the other
//! lanes have unspecified contents. A map has the memory of a burn tensor, so that one becomes the
//! other without a copy: clones share it by reference counting, and the only owner writes in place.
//!
//! ```
//! use edgeld_runtime::kernel::Map;
//! use edgeld_runtime::region::{ChannelRange, Region, RowRange};
//! let rows = RowRange::new(10, 14);
//! let map = Map::zeros(Region::new(ChannelRange::all(3), rows), 20, 1);
//! assert_eq!(map.as_slice().len(), 3 * 4 * 20);
//! assert_eq!(map.line(2, 11), 2 * 80 + 20..2 * 80 + 40);
//! ```

use std::ops::Range;

use super::storage::{self, Storage, Tensor};
use crate::region::Region;

/// A region of a tensor as float32, over its whole width.
#[derive(Debug, Clone)]
pub struct Map {
    place: Place,
    storage: Storage,
}

/// Where the elements of a region lie in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Which part of the tensor.
    pub(crate) region: Region,
    /// The tensor's width.
    pub(crate) width: u32,
    /// Channels side by side.
    pub(crate) lanes: u32,
}

impl Map {
    /// A map of zeros with `lanes` channels side by side.
    pub fn zeros(region: Region, width: u32, lanes: u32) -> Map {
        let place = Place { region, width, lanes: lanes.max(1) };
        Map { place, storage: storage::zeros(place.axes()) }
    }

    /// Which part of the tensor it holds.
    pub(crate) fn region(&self) -> Region {
        self.place.region
    }

    /// The tensor's width.
    pub(crate) fn width(&self) -> u32 {
        self.place.width
    }

    /// How many channels lie side by side.
    pub fn lanes(&self) -> u32 {
        self.place.lanes
    }

    /// All elements, in order.
    pub fn as_slice(&self) -> &[f32] {
        storage::elements(&self.storage)
    }

    /// All elements, in order. If a clone or a tensor shares them, they are copied first.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        storage::elements_mut(&mut self.storage)
    }

    /// Where row `row` of the block that holds `channel` lies: width x lanes elements. Both are
    /// absolute and must lie in the region.
    pub fn line(&self, channel: u32, row: u32) -> Range<usize> {
        self.place.line(channel, row)
    }

    /// A burn tensor of blocks x rows x width x lanes that shares the memory.
    pub(crate) fn tensor(&self) -> Tensor<4> {
        storage::tensor(self.storage.clone())
    }

    pub(crate) fn of(place: Place, storage: Storage) -> Map {
        Map { place, storage }
    }

    /// Its memory, including spare capacity, if no clone or tensor shares it.
    pub(crate) fn into_elements(self) -> Option<Vec<f32>> {
        storage::into_elements(self.storage)
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Lends the elements to `work` as a tensor that nobody else holds; `work` returns them.
    pub(crate) fn lend(&mut self, work: impl FnOnce(Tensor<4>) -> Tensor<4>) {
        let loan = Loan(self);
        let storage = std::mem::replace(&mut loan.0.storage, storage::empty());
        loan.0.storage = storage::storage(work(storage::tensor(storage)));
    }
}

/// Makes sure that a map has elements again, even if the work on them panicked.
struct Loan<'a>(&'a mut Map);

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if self.0.storage.shape() != self.0.place.axes() {
            self.0.storage = storage::zeros(self.0.place.axes());
        }
    }
}

impl Place {
    /// Blocks of channels, rows, width, lanes.
    pub(crate) fn axes(&self) -> [usize; 4] {
        let channels = self.region.channels;
        let blocks = channels.end.div_ceil(self.lanes) - channels.start / self.lanes;
        [blocks, self.region.rows.len(), self.width, self.lanes].map(|axis| axis as usize)
    }

    /// Elements from one block of channels to the next.
    #[inline]
    pub(crate) fn plane(&self) -> usize {
        self.region.rows.len() as usize * self.width as usize * self.lanes as usize
    }

    /// As [`Map::line`].
    #[inline]
    pub(crate) fn line(&self, channel: u32, row: u32) -> Range<usize> {
        let block = channel / self.lanes - self.region.channels.start / self.lanes;
        let row = row - self.region.rows.start;
        let pitch = self.width as usize * self.lanes as usize;
        let start = block as usize * self.plane() + row as usize * pitch;
        start..start + pitch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{ChannelRange, RowRange};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn region() -> Region {
        Region::new(ChannelRange::new(4, 7), RowRange::new(2, 5))
    }

    #[test]
    fn a_tensor_of_a_map_shares_its_memory() {
        let mut map = Map::zeros(region(), 5, 1);
        let before = map.as_slice().as_ptr();
        assert_eq!(storage::elements(&storage::storage(map.tensor())).as_ptr(), before);
        map.lend(|tensor| tensor);
        assert_eq!(map.as_mut_slice().as_ptr(), before);
    }

    #[test]
    fn writing_a_shared_map_leaves_the_others_alone() {
        let mut map = Map::zeros(region(), 5, 1);
        let copy = map.clone();
        map.as_mut_slice()[0] = 1.0;
        assert_eq!((map.as_slice()[0], copy.as_slice()[0]), (1.0, 0.0));
    }

    #[test]
    fn a_panic_leaves_a_map_of_zeros() {
        let mut map = Map::zeros(region(), 5, 1);
        let lending = AssertUnwindSafe(|| map.lend(|_| panic!("while computing")));
        assert!(catch_unwind(lending).is_err());
        assert_eq!(map.as_slice(), [0.0; 45]);
    }

    #[test]
    fn lanes_fill_up_blocks_of_the_whole_tensor() {
        let map = Map::zeros(region(), 5, 2);
        assert_eq!(map.as_slice().len(), 2 * 3 * 5 * 2);
        assert_eq!(map.line(6, 3), 40..50);
        let odd = Map::zeros(Region::new(ChannelRange::new(3, 5), RowRange::new(0, 1)), 5, 2);
        assert_eq!((odd.as_slice().len(), odd.line(3, 0), odd.line(4, 0)), (20, 0..10, 10..20));
    }
}
