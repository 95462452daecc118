//! The order in which the elements of a convolution's window are added up.
//!
//! A tap is a cell of the kernel over neighbouring channels. The order is: blocks of channels, rows
//! of the kernel, columns of the kernel, channels of the block. Weights are packed and the input is
//! read in this order.
//!
//! If groups are narrower than a block of features, the block reads the channels of all its groups,
//! with zero weights between features and channels of different groups.

use crate::graph::{Conv, Shape, Window};
use crate::kernel::memory::lanes::BLOCK;
use crate::kernel::memory::segment::Segment;
use crate::region::ChannelRange;

/// A cell of the kernel over neighbouring channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tap {
    /// The first channel.
    pub(crate) channel: u32,
    /// How many.
    pub(crate) len: u32,
    /// The cell's row in the kernel.
    pub(crate) row: u32,
    /// The cell's column in the kernel.
    pub(crate) column: u32,
}

/// The taps over `channels` of maps with this many lanes, in order.
pub(crate) fn taps(
    channels: ChannelRange,
    window: Window,
    lanes: u32,
) -> impl Iterator<Item = Tap> {
    let (rows, columns) = (window.rows.kernel, window.cols.kernel);
    (channels.start / lanes..channels.end.div_ceil(lanes)).flat_map(move |block| {
        let part = channels.intersect(ChannelRange::new(block * lanes, (block + 1) * lanes));
        (0..rows).flat_map(move |row| {
            (0..columns).map(move |column| Tap {
                channel: part.start,
                len: part.len(),
                row,
                column,
            })
        })
    })
}

/// Where taps lie in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strides {
    /// The first channel of the first block.
    pub(crate) channel: u32,
    /// Channels side by side.
    pub(crate) lanes: u32,
    /// Elements from one block of channels to the next.
    pub(crate) plane: usize,
    /// Elements from one row of the kernel to the next.
    pub(crate) row: usize,
    /// Elements from one column of the kernel to the next.
    pub(crate) column: usize,
}

impl Strides {
    /// Fills `segments` with the taps. Offsets are relative to the first block's cell in the
    /// kernel's first row and column; adjacent segments are joined.
    pub(crate) fn segments(
        &self,
        channels: ChannelRange,
        window: Window,
        segments: &mut Vec<Segment>,
    ) {
        segments.clear();
        for tap in taps(channels, window, self.lanes) {
            let block = (tap.channel / self.lanes).saturating_sub(self.channel / self.lanes);
            let offset = block as usize * self.plane
                + (tap.channel % self.lanes) as usize
                + tap.row as usize * self.row
                + tap.column as usize * self.column;
            let len = tap.len as usize;
            match segments.last_mut() {
                Some(last) if last.offset + last.len == offset => last.len += len,
                _ => segments.push(Segment { offset, len }),
            }
        }
    }
}

/// Packs rows of weights, for the block's features from `skip` on, as elements x [`BLOCK`], with
/// zeros for features that the block lacks. Maps of the input have this many `lanes`.
pub(crate) fn panel(
    conv: &Conv,
    shape: Shape,
    lanes: u32,
    first: u32,
    skip: usize,
    rows: &[f32],
) -> Vec<f32> {
    let channels = conv.block_channels(first, shape);
    let cells = conv.window.cells() as usize;
    let (outputs, inputs) = (conv.features / conv.groups, shape.channels / conv.groups);
    let row = inputs as usize * cells;
    let mut panel = vec![0.0; channels.len() as usize * cells * BLOCK];
    for (index, weights) in rows.chunks_exact(row).enumerate() {
        let place = skip + index;
        let group = (first + place as u32) / outputs;
        let mine = ChannelRange::new(group * inputs, (group + 1) * inputs);
        let mut element = place;
        for tap in taps(channels, conv.window, lanes) {
            let cell = (tap.row * conv.window.cols.kernel + tap.column) as usize;
            for channel in tap.channel..tap.channel + tap.len {
                if mine.contains(channel) {
                    panel[element] = weights[(channel - mine.start) as usize * cells + cell];
                }
                element += BLOCK;
            }
        }
    }
    panel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{ParameterId, Sweep};

    const WINDOW: Window = Window {
        rows: Sweep { kernel: 1, ..Sweep::point() },
        cols: Sweep { kernel: 2, ..Sweep::point() },
    };

    #[test]
    fn runs_follow_the_channels_of_a_block() {
        let strides = Strides { channel: 16, lanes: 16, plane: 1000, row: 100, column: 16 };
        let mut segments = vec![Segment { offset: 9, len: 9 }];
        strides.segments(ChannelRange::new(16, 36), WINDOW, &mut segments);
        assert_eq!(
            segments,
            [
                Segment { offset: 0, len: 32 },
                Segment { offset: 1000, len: 4 },
                Segment { offset: 1016, len: 4 }
            ]
        );
    }

    #[test]
    fn narrow_groups_share_a_panel() {
        let conv = Conv {
            features: 4,
            groups: 2,
            window: Window::point(),
            weight: ParameterId(0),
            scale: None,
            bias: None,
        };
        let packed = panel(&conv, Shape::new(2, 1, 1), 16, 0, 1, &[2.0, 3.0, 4.0]);
        assert_eq!(packed[..4], [0.0, 2.0, 0.0, 0.0]);
        assert_eq!(packed[16..20], [0.0, 0.0, 3.0, 4.0]);
    }
}
