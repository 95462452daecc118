//! A region of a tensor in memory.
//!
//! A map keeps float32 in the order blocks of channels x rows x width x lanes; with one lane
//! that is plain NCHW. Its memory is what burn's ndarray backend uses for tensors, so that a map
//! becomes a burn tensor, and a tensor a map, without copying: cloning either counts a reference,
//! and whoever holds the only one writes in place.
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

use ndarray::{ArcArray, ArrayD, IxDyn};

use crate::region::Region;

/// What a [`Map`] keeps its elements in: burn-ndarray's own storage.
pub(super) type Storage = ArcArray<f32, IxDyn>;

/// A region of a tensor as float32, over its whole width.
#[derive(Debug, Clone)]
pub struct Map {
    region: Region,
    width: u32,
    lanes: u32,
    storage: Storage,
}

impl Map {
    /// Zeros. `lanes` channels lie side by side; where they do not divide the region's channels
    /// the last block is filled up.
    pub fn zeros(region: Region, width: u32, lanes: u32) -> Map {
        let lanes = lanes.max(1);
        let blocks = region.channels.len().div_ceil(lanes) as usize;
        let mut shape = vec![1, blocks, region.rows.len() as usize, width as usize];
        if lanes > 1 {
            shape.push(lanes as usize);
        }
        let storage = ArrayD::zeros(IxDyn(&shape)).into_shared();
        Map { region, width, lanes, storage }
    }

    /// Which part of the tensor it holds.
    pub fn region(&self) -> Region {
        self.region
    }

    /// The tensor's width.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Channels that lie side by side.
    pub fn lanes(&self) -> u32 {
        self.lanes
    }

    /// All elements, in order.
    pub fn as_slice(&self) -> &[f32] {
        // A map's storage is made in standard order and only ever replaced by its like.
        self.storage.as_slice().unwrap_or(&[])
    }

    /// All elements, in order. Copies them first if a clone or a tensor shares them.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        self.storage.as_slice_mut().unwrap_or(&mut [])
    }

    /// Where the block of channels that holds `channel` has its row `row`: width x lanes
    /// elements. Both count from the tensor's beginning and must lie in the region.
    pub fn line(&self, channel: u32, row: u32) -> Range<usize> {
        let block = ((channel - self.region.channels.start) / self.lanes) as usize;
        let row = (row - self.region.rows.start) as usize;
        let pitch = self.width as usize * self.lanes as usize;
        let start = (block * self.region.rows.len() as usize + row) * pitch;
        start..start + pitch
    }

    /// Elements from one block of channels to the next.
    pub(super) fn plane(&self) -> usize {
        self.region.rows.len() as usize * self.width as usize * self.lanes as usize
    }
}
