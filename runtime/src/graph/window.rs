//! The geometry of sliding windows: which input rows an output row reads.
//!
//! Along one axis with stride s, dilation d, kernel k and p cells of padding before it, output
//! index o reads input indices o s - p + d t for t in 0..k. A range of outputs therefore reads
//!
//! ```text
//! outputs a..b  read  inputs  a s - p .. (b - 1) s - p + d (k - 1) + 1
//! ```
//!
//! clipped to the map. What lies outside is padding, which exists only at the true border.
//!
//! ```
//! use edgeld_runtime::graph::Sweep;
//! use edgeld_runtime::region::RowRange;
//! let three = Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() };
//! assert_eq!(three.reads(RowRange::new(0, 4), 14), RowRange::new(0, 5));
//! assert_eq!(three.reads(RowRange::new(4, 8), 14), RowRange::new(3, 9));
//! ```

use serde::{Deserialize, Serialize};

use crate::region::Span;

/// No model has more padding: a bound on what a file can claim.
const MAX_PADDING: u32 = 1 << 16;

/// One axis of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sweep {
    /// Cells of the window along this axis.
    pub kernel: u32,
    /// Input cells between neighbouring outputs.
    pub stride: u32,
    /// Input cells between neighbouring cells of the window.
    pub dilation: u32,
    /// Padding before the first input cell.
    pub pad_before: u32,
    /// Padding after the last input cell.
    pub pad_after: u32,
    /// Round the number of outputs up: the last window may hang over the padding.
    pub ceil: bool,
}

impl Sweep {
    /// The window of a single cell.
    pub const fn point() -> Sweep {
        Sweep { kernel: 1, stride: 1, dilation: 1, pad_before: 0, pad_after: 0, ceil: false }
    }

    /// The window that covers an axis of `len` cells.
    pub(crate) const fn whole(len: u32) -> Sweep {
        Sweep { kernel: len, ..Sweep::point() }
    }

    /// Input cells from the window's first to its last, both included.
    pub(crate) const fn extent(&self) -> u64 {
        self.dilation as u64 * (self.kernel as u64).saturating_sub(1) + 1
    }

    /// Number of outputs over `len` inputs; `None` if the window does not fit, a field is zero that
    /// must not be, or the padding is unreasonably large.
    ///
    /// With `ceil`, a last window that would start in the padding after the input is dropped, as in
    /// ONNX and PyTorch.
    pub fn outputs(&self, len: u32) -> Option<u32> {
        if self.kernel == 0 || self.stride == 0 || self.dilation == 0 {
            return None;
        }
        if self.pad_before.max(self.pad_after) > MAX_PADDING {
            return None;
        }
        let padded = u64::from(len) + u64::from(self.pad_before) + u64::from(self.pad_after);
        let slack = padded.checked_sub(self.extent())?;
        let stride = u64::from(self.stride);
        let mut outputs = slack / stride + 1;
        if self.ceil && !slack.is_multiple_of(stride) {
            let start = outputs * stride;
            outputs += u64::from(start < u64::from(len) + u64::from(self.pad_before));
        }
        u32::try_from(outputs).ok()
    }

    /// The input cells that `outputs` read on an axis of `len` cells, without padding.
    pub fn reads<Axis: Copy>(&self, outputs: Span<Axis>, len: u32) -> Span<Axis> {
        if outputs.is_empty() {
            return Span::empty();
        }
        let stride = i64::from(self.stride);
        let first = i64::from(outputs.start) * stride - i64::from(self.pad_before);
        let last = (i64::from(outputs.end) - 1) * stride - i64::from(self.pad_before)
            + self.extent() as i64;
        let clip = |index: i64| index.clamp(0, i64::from(len)) as u32;
        Span::new(clip(first), clip(last))
    }
}

/// A two-dimensional window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Down the rows.
    pub rows: Sweep,
    /// Across the width.
    pub cols: Sweep,
}

impl Window {
    /// The 1x1 window.
    pub const fn point() -> Window {
        Window { rows: Sweep::point(), cols: Sweep::point() }
    }

    /// The window of a dense layer: a whole map of `rows` x `width`.
    pub const fn whole(rows: u32, width: u32) -> Window {
        Window { rows: Sweep::whole(rows), cols: Sweep::whole(width) }
    }

    /// A square window, the same along both axes.
    pub const fn square(sweep: Sweep) -> Window {
        Window { rows: sweep, cols: sweep }
    }

    /// Number of cells.
    pub const fn cells(&self) -> u64 {
        self.rows.kernel as u64 * self.cols.kernel as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::RowRange;

    #[test]
    fn resnet_stem_halves_the_map() {
        let stem = Sweep { kernel: 7, stride: 2, pad_before: 3, pad_after: 3, ..Sweep::point() };
        assert_eq!(stem.outputs(224), Some(112));
        assert_eq!(stem.reads(RowRange::new(28, 56), 224), RowRange::new(53, 114));
    }

    #[test]
    fn ceil_mode_adds_a_window_unless_it_starts_in_the_padding() {
        let pool = Sweep { kernel: 3, stride: 2, ceil: true, ..Sweep::point() };
        assert_eq!(pool.outputs(112), Some(56));
        assert_eq!(Sweep { ceil: false, ..pool }.outputs(112), Some(55));
        let padded = Sweep { kernel: 2, stride: 3, pad_before: 1, pad_after: 1, ..pool };
        assert_eq!(padded.outputs(5), Some(2));
    }

    #[test]
    fn windows_that_do_not_fit_have_no_output() {
        assert_eq!(Sweep::whole(5).outputs(4), None);
        assert_eq!(Sweep { stride: 0, ..Sweep::point() }.outputs(4), None);
        assert_eq!(Sweep { kernel: 0, ..Sweep::point() }.outputs(4), None);
        assert_eq!(Sweep { pad_after: u32::MAX, ..Sweep::point() }.outputs(4), None);
    }
}
