//! Static shapes: channels x rows x width, one picture at a time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::region::{ChannelRange, Region, RowRange};

/// The shape of a tensor between layers. A vector of n elements is n x 1 x 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Channels (features of a vector).
    pub channels: u32,
    /// Rows: the H axis, along which work is split.
    pub rows: u32,
    /// Width: the W axis, which is never split.
    pub width: u32,
}

impl Shape {
    /// `channels` x `rows` x `width`.
    pub const fn new(channels: u32, rows: u32, width: u32) -> Shape {
        Shape { channels, rows, width }
    }

    /// A vector of `channels` elements.
    pub const fn vector(channels: u32) -> Shape {
        Shape::new(channels, 1, 1)
    }

    /// Number of elements.
    pub const fn elements(&self) -> u64 {
        self.channels as u64 * self.rows as u64 * self.width as u64
    }

    /// As [`Shape::elements`], or `None` on overflow.
    pub(crate) fn checked_elements(&self) -> Option<u64> {
        u64::from(self.channels).checked_mul(self.rows.into())?.checked_mul(self.width.into())
    }

    /// All of it, as a region.
    pub const fn region(&self) -> Region {
        Region::new(ChannelRange::all(self.channels), RowRange::all(self.rows))
    }

    /// Whether it is a vector: one row of width one.
    pub(crate) const fn is_vector(&self) -> bool {
        self.rows == 1 && self.width == 1
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.rows, self.width)
    }
}
