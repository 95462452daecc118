//! Region rules: which part of its inputs an operator reads.
//!
//! Down the rows, along which work is split, a rule is a [`Reach`]; channels are those of the
//! output, or all, or a range that the operator says.
//!
//! ```
//! use edgeld_runtime::graph::Reach;
//! use edgeld_runtime::region::RowRange;
//! // Rows 3 to 5 of a map of twice the height come from rows 1 and 2.
//! assert_eq!(Reach::Repeated(2).rows(RowRange::new(3, 6), 10), RowRange::new(1, 3));
//! ```

use super::op::Op;
use super::shape::Shape;
use super::window::Sweep;
use crate::region::{ChannelRange, Region, RowRange};

/// The rows of an input that rows of an output read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those of the same number.
    Same,
    /// All.
    All,
    /// Those that a window looks at.
    Window(Sweep),
    /// Each input row makes so many rows.
    Repeated(u32),
    /// Row r reads row `start` + r * `step`.
    Every {
        /// The first.
        start: u32,
        /// From one to the next.
        step: u32,
    },
    /// Row r reads row r less this many, if the input has it.
    After(u32),
}

impl Reach {
    /// The rows, of `total`, that `out` reads.
    pub fn rows(self, out: RowRange, total: u32) -> RowRange {
        if out.is_empty() {
            return RowRange::empty();
        }
        match self {
            Reach::Same => out,
            Reach::All => RowRange::all(total),
            Reach::Window(sweep) => sweep.reads(out, total),
            Reach::Repeated(times) => RowRange::new(out.start / times, out.end.div_ceil(times)),
            Reach::Every { start, step } => {
                RowRange::new(start + out.start * step, start + (out.end - 1) * step + 1)
            }
            Reach::After(rows) => {
                let part = out.intersect(RowRange::new(rows, rows + total));
                match part.is_empty() {
                    true => RowRange::empty(),
                    false => RowRange::new(part.start - rows, part.end - rows),
                }
            }
        }
    }
}

impl Op {
    /// The region rule down the rows, for input number `index`.
    ///
    /// `inputs` are the shapes of all inputs, as [`Op::output_shape`] accepted them.
    pub fn reach(&self, index: usize, inputs: &[Shape]) -> Reach {
        match self {
            Op::Conv(conv) => Reach::Window(conv.window.rows),
            Op::Pool(pool) => Reach::Window(pool.window.rows),
            Op::SumRows { .. } | Op::Reorder(_) => Reach::All,
            Op::Mul if inputs[index].is_vector() => Reach::All,
            Op::Upsample { rows, .. } => Reach::Repeated(*rows),
            Op::DepthToSpace { block } => Reach::Repeated(*block),
            Op::Slice(slice) => Reach::Every { start: slice.rows.start, step: slice.rows.step },
            Op::Stack => Reach::After(inputs[..index].iter().map(|shape| shape.rows).sum()),
            Op::SumWidth
            | Op::Add
            | Op::Mul
            | Op::Concat
            | Op::Identity
            | Op::Softmax
            | Op::Lrn(_)
            | Op::Shuffle { .. } => Reach::Same,
        }
    }

    /// The region rule: what part of input number `index` the outputs in `out` read.
    ///
    /// `inputs` are the shapes of all inputs, as [`Op::output_shape`] accepted them.
    pub fn reads(&self, index: usize, inputs: &[Shape], out: Region) -> Region {
        let input = inputs[index];
        if out.is_empty() {
            return Region::empty();
        }
        let channels = match self {
            Op::Conv(conv) => conv.input_channels(out.channels, input),
            Op::Concat => {
                let offset: u32 = inputs[..index].iter().map(|shape| shape.channels).sum();
                let mine = ChannelRange::new(offset, offset + input.channels);
                let part = out.channels.intersect(mine);
                if part.is_empty() {
                    return Region::empty();
                }
                ChannelRange::new(part.start - offset, part.end - offset)
            }
            _ if self.is_channelwise() => out.channels,
            _ => ChannelRange::all(input.channels),
        };
        let region = Region::new(channels, self.reach(index, inputs).rows(out.rows, input.rows));
        if region.is_empty() { Region::empty() } else { region }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_walked_back() {
        let rows = RowRange::new;
        assert_eq!(Reach::Every { start: 1, step: 2 }.rows(rows(2, 4), 9), rows(5, 8));
        assert_eq!(Reach::After(4).rows(rows(3, 6), 5), rows(0, 2));
        assert!(Reach::After(4).rows(rows(1, 4), 5).is_empty());
        assert_eq!(Reach::Repeated(3).rows(rows(0, 3), 5), rows(0, 1));
    }
}
