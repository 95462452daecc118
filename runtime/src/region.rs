//! Half-open ranges of rows and channels, and the regions of a tensor that they form.
//!
//! Everything that is sent or owned is a [`Region`]: a channel range times a row range of a tensor,
//! over its whole width. Rows and channels have different types, so that one cannot be passed for
//! the other.
//!
//! Worked example: device 1 owns rows 56..112 of a map and needs rows 55..113. What it lacks:
//!
//! ```
//! use edgeld_runtime::region::RowRange;
//! let need = RowRange::new(55, 113);
//! let owned = RowRange::new(56, 112);
//! let lacks: Vec<_> = need.minus(owned).collect();
//! assert_eq!(lacks, [RowRange::new(55, 56), RowRange::new(112, 113)]);
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Channels per block. The channels of a block lie side by side in memory, and splits by features
/// cut only between blocks.
pub const CHANNEL_BLOCK: u32 = 16;

/// Marks a range over the H axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowAxis;

/// Marks a range over the channel axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelAxis;

/// A half-open range `start..end` along one axis; empty when `end <= start`.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Span<Axis> {
    /// First index in the range.
    pub start: u32,
    /// First index after the range.
    pub end: u32,
    #[serde(skip)]
    axis: PhantomData<Axis>,
}

/// A range of rows of a feature map.
pub type RowRange = Span<RowAxis>;

/// A range of channels (of output features, for a vector).
pub type ChannelRange = Span<ChannelAxis>;

impl<Axis: Copy> Span<Axis> {
    /// `start..end`; anything with `end <= start` is the empty range.
    pub const fn new(start: u32, end: u32) -> Self {
        Span { start, end, axis: PhantomData }
    }

    /// `0..len`.
    pub const fn all(len: u32) -> Self {
        Span::new(0, len)
    }

    /// The empty range.
    pub(crate) const fn empty() -> Self {
        Span::new(0, 0)
    }

    /// Number of indices.
    pub const fn len(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds no index.
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether `index` lies within.
    pub(crate) const fn contains(&self, index: u32) -> bool {
        self.start <= index && index < self.end
    }

    /// Whether all of `other` lies within.
    pub(crate) fn covers(&self, other: Self) -> bool {
        other.is_empty() || (self.start <= other.start && other.end <= self.end)
    }

    /// The common part.
    pub fn intersect(self, other: Self) -> Self {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        if start < end { Span::new(start, end) } else { Span::empty() }
    }

    /// The smallest range that covers both; the empty range adds nothing.
    pub(crate) fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, true) => Span::empty(),
            (true, false) => other,
            (false, true) => self,
            (false, false) => Span::new(self.start.min(other.start), self.end.max(other.end)),
        }
    }

    /// What `self` has and `other` lacks: up to two ranges, in order.
    pub fn minus(self, other: Self) -> impl Iterator<Item = Self> {
        let common = self.intersect(other);
        let pieces = if common.is_empty() {
            [self, Span::empty()]
        } else {
            [Span::new(self.start, common.start), Span::new(common.end, self.end)]
        };
        pieces.into_iter().filter(|piece| !piece.is_empty())
    }

    /// The indices as `usize`, for slicing.
    pub(crate) fn indices(self) -> Range<usize> {
        self.start as usize..self.end.max(self.start) as usize
    }
}

impl ChannelRange {
    /// The blocks, of [`CHANNEL_BLOCK`] channels each, that hold any of these channels.
    pub(crate) fn blocks(self) -> Range<u32> {
        self.start / CHANNEL_BLOCK..self.end.div_ceil(CHANNEL_BLOCK)
    }
}

impl<Axis: Copy> PartialEq for Span<Axis> {
    /// All empty ranges are equal.
    fn eq(&self, other: &Self) -> bool {
        (self.is_empty() && other.is_empty())
            || (self.start == other.start && self.end == other.end)
    }
}

impl<Axis: Copy> Eq for Span<Axis> {}

impl<Axis: Copy> Hash for Span<Axis> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if !self.is_empty() {
            (self.start, self.end).hash(state);
        }
    }
}

impl<Axis> fmt::Debug for Span<Axis> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

impl<Axis> fmt::Display for Span<Axis> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A channel range times a row range of a tensor, over its whole width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Region {
    /// Which channels.
    pub channels: ChannelRange,
    /// Which rows.
    pub rows: RowRange,
}

impl Region {
    /// `channels` times `rows`.
    pub const fn new(channels: ChannelRange, rows: RowRange) -> Region {
        Region { channels, rows }
    }

    /// The empty region.
    pub const fn empty() -> Region {
        Region::new(Span::empty(), Span::empty())
    }

    /// Whether it holds no element.
    pub const fn is_empty(&self) -> bool {
        self.channels.is_empty() || self.rows.is_empty()
    }

    /// The common part.
    pub(crate) fn intersect(self, other: Region) -> Region {
        let region =
            Region::new(self.channels.intersect(other.channels), self.rows.intersect(other.rows));
        if region.is_empty() { Region::empty() } else { region }
    }

    /// The smallest region that covers both; an empty one adds nothing.
    pub(crate) fn hull(self, other: Region) -> Region {
        match (self.is_empty(), other.is_empty()) {
            (true, true) => Region::empty(),
            (true, false) => other,
            (false, true) => self,
            (false, false) => {
                Region::new(self.channels.hull(other.channels), self.rows.hull(other.rows))
            }
        }
    }

    /// Whether all of `other` lies within.
    pub(crate) fn covers(&self, other: Region) -> bool {
        other.is_empty() || (self.channels.covers(other.channels) && self.rows.covers(other.rows))
    }

    /// What `self` has and `other` lacks, as disjoint regions: first the missing rows over all
    /// channels, then the missing channels of the common rows.
    pub(crate) fn minus(self, other: Region) -> Vec<Region> {
        if self.is_empty() {
            return Vec::new();
        }
        let common = self.intersect(other);
        if common.is_empty() {
            return vec![self];
        }
        let rows = self.rows.minus(common.rows).map(|rows| Region::new(self.channels, rows));
        let channels =
            self.channels.minus(common.channels).map(|channels| Region::new(channels, common.rows));
        rows.chain(channels).collect()
    }

    /// Number of channel-row pairs; times the width it is the number of elements.
    pub(crate) fn lines(&self) -> u64 {
        u64::from(self.channels.len()) * u64::from(self.rows.len())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channels {} rows {}", self.channels, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row_range() -> impl Strategy<Value = RowRange> {
        (0u32..12, 0u32..12).prop_map(|(start, end)| RowRange::new(start, end))
    }

    fn region() -> impl Strategy<Value = Region> {
        (row_range(), 0u32..12, 0u32..12)
            .prop_map(|(rows, start, end)| Region::new(ChannelRange::new(start, end), rows))
    }

    fn points(region: Region) -> Vec<(usize, usize)> {
        let rows = region.rows.indices();
        region.channels.indices().flat_map(|c| rows.clone().map(move |r| (c, r))).collect()
    }

    proptest! {
        #[test]
        fn minus_and_intersect_partition(a in region(), b in region()) {
            let mut parts = points(a.intersect(b));
            parts.extend(a.minus(b).into_iter().flat_map(points));
            parts.sort_unstable();
            let mut whole = points(a);
            whole.sort_unstable();
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn hull_covers_both(a in region(), b in region()) {
            prop_assert!(a.hull(b).covers(a) && a.hull(b).covers(b));
        }

        #[test]
        fn lines_counts_points(a in region()) {
            prop_assert_eq!(a.lines() as usize, points(a).len());
        }
    }
}
