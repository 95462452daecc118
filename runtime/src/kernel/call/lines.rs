//! Works on a map piece by piece, on several threads if there is enough work.
//!
//! A piece is a [`Band`], as long as possible, for elementwise work, or a [`Line`] for work that
//! depends on the row.

use std::ops::Range;

use super::job::Job;
use super::threads::Parts;
use crate::kernel::memory::map::Place;
use crate::region::{ChannelRange, RowRange};

/// The number of elements from which it is worth waking other threads.
const MANY: usize = 1 << 16;

/// Rows of one block of channels, which are contiguous in every map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    /// Which channels of the block to compute.
    pub(crate) channels: ChannelRange,
    /// Which rows.
    pub(crate) rows: RowRange,
}

/// One row of a block of channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Which channels of the block to compute.
    pub(crate) channels: ChannelRange,
    /// Which row.
    pub(crate) row: u32,
}

impl Band {
    /// Where it lies: rows x width x lanes.
    pub(crate) fn of(self, place: Place) -> Range<usize> {
        let first = place.line(self.channels.start, self.rows.start);
        first.start..first.start + first.len() * self.rows.len() as usize
    }
}

/// Calls `work` with every band of the job's region and its part of the output. All elements of
/// that part may be written, though only the lanes of the band's channels matter.
pub(crate) fn each_band(job: &Job<'_>, output: &mut [f32], work: impl Fn(Band, &mut [f32]) + Sync) {
    let (lanes, channels, all) = (job.output.lanes, job.region.channels, job.region.rows);
    let rows = all.len() as usize;
    let lines = channels.len().div_ceil(lanes) as usize * rows;
    let output = Parts::new(output);
    let some = |lines: Range<usize>| {
        let mut line = lines.start;
        while line < lines.end {
            let (block, row) = (line / rows, line % rows);
            let end = rows.min(row + lines.end - line);
            // A region begins with a block.
            let first = channels.start + block as u32 * lanes;
            let band = Band {
                channels: ChannelRange::new(first, first + lanes).intersect(channels),
                rows: RowRange::new(all.start + row as u32, all.start + end as u32),
            };
            // SAFETY: tasks have lines of their own.
            let out = unsafe { output.part(band.of(job.output)) };
            job.arch.dispatch(|| work(band, out));
            line += end - row;
        }
    };
    match lines * job.output.width as usize * lanes as usize {
        ..MANY => some(0..lines),
        _ => job.share(lines, some),
    }
}

/// Like [`each_band`], but line by line; then applies the activation.
pub(crate) fn each_line(job: &Job<'_>, output: &mut [f32], work: impl Fn(Line, &mut [f32]) + Sync) {
    let pitch = job.output.width as usize * job.output.lanes as usize;
    each_band(
        job,
        output,
        #[inline(always)]
        |band, out| {
            for (row, out) in (band.rows.start..).zip(out.chunks_exact_mut(pitch)) {
                work(Line { channels: band.channels, row }, out);
                job.activation.apply(job.arch, out);
            }
        },
    );
}
