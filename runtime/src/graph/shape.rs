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

    /// The map that holds a tensor of these dimensions: channels first if there is a batch of 1,
    /// otherwise with the last two dimensions as rows and width. Elements are in the same order in
    /// both. `None` if a side is too long.
    ///
    /// ```
    /// use edgeld_runtime::graph::Shape;
    /// assert_eq!(Shape::of_dims(&[1, 3, 8, 9]), Some(Shape::new(3, 8, 9)));
    /// assert_eq!(Shape::of_dims(&[1, 100]), Some(Shape::vector(100)));
    /// assert_eq!(Shape::of_dims(&[2, 5, 8, 9]), Some(Shape::new(10, 8, 9)));
    /// ```
    pub fn of_dims(dims: &[u32]) -> Option<Shape> {
        Some(match *dims {
            [] => Shape::vector(1),
            [channels] | [1, channels] => Shape::vector(channels),
            [channels, rows] | [1, channels, rows] => Shape::new(channels, rows, 1),
            [channels, rows, width] | [1, channels, rows, width] => {
                Shape::new(channels, rows, width)
            }
            [ref outer @ .., rows, width] => {
                let channels = outer.iter().try_fold(1u32, |all, dim| all.checked_mul(*dim))?;
                Shape::new(channels, rows, width)
            }
        })
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
