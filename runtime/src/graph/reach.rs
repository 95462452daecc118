//! Region rules: which part of its inputs an operator reads.
//!
//! For rows, along which work is split, the rule is a [`Reach`]. Channels are those of the output,
//! or all, or a range that depends on the operator.

use super::op::Op;
use super::shape::Shape;
use super::window::Sweep;
use crate::region::{ChannelRange, Region, RowRange};

/// Which rows of an input a range of output rows reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The same rows.
    Same,
    /// All rows.
    All,
    /// The rows under a window.
    Window(Sweep),
    /// Each input row makes this many output rows.
    Repeated(u32),
    /// Row r reads row `start` + r * `step`.
    Every {
        /// The first input row.
        start: u32,
        /// The distance from one to the next.
        step: u32,
    },
    /// Row r reads row r minus this many, if the input has it.
    After(u32),
}

impl Reach {
    /// The rows that `out` reads of an input of `total` rows.
    pub(crate) fn rows(self, out: RowRange, total: u32) -> RowRange {
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
    /// The region rule for the rows of input number `index`.
    ///
    /// `inputs` are the shapes of all inputs, as `Op::output_shape` accepted them.
    pub(crate) fn reach(&self, index: usize, inputs: &[Shape]) -> Reach {
        match self {
            Op::Conv(conv) => Reach::Window(conv.window.rows),
            Op::Pool(pool) => Reach::Window(pool.window.rows),
            Op::SumRows { .. } | Op::Reorder(_) | Op::Constant(_) | Op::General(_) => Reach::All,
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

    /// The region rule: what the outputs in `out` read of input number `index`.
    ///
    /// `inputs` are the shapes of all inputs, as `Op::output_shape` accepted them.
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
