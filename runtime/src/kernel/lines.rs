//! Work on a map line by line, on several threads where there is much of it.

use super::job::Job;
use super::threads::Parts;
use crate::region::ChannelRange;

/// Elements of an output that are worth waking other threads for.
const MANY: usize = 1 << 16;

/// One row of a block of channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// The channels of the block that are computed.
    pub(super) channels: ChannelRange,
    /// Which row.
    pub(super) row: u32,
}

/// Calls `work` with every line of the job's region and its elements: width x lanes, all of them
/// the line's own, though only the lanes of its channels count.
pub(super) fn each_line(job: &Job<'_>, output: &mut [f32], work: impl Fn(Line, &mut [f32]) + Sync) {
    let (lanes, region) = (job.output.lanes, job.region);
    let (first, rows) = (region.channels.start / lanes, region.rows.len() as usize);
    let blocks = region.channels.end.div_ceil(lanes) - first;
    let count = blocks as usize * rows;
    let output = Parts::new(output);
    let some = |lines: std::ops::Range<usize>| {
        job.arch.dispatch(|| {
            for line in lines.clone() {
                let start = (first + (line / rows) as u32) * lanes;
                let channels = ChannelRange::new(start, start + lanes).intersect(region.channels);
                let row = region.rows.start + (line % rows) as u32;
                // SAFETY: no other task has this line.
                let out = unsafe { output.part(job.output.line(channels.start, row)) };
                work(Line { channels, row }, out);
                job.activation.apply(out);
            }
        });
    };
    match count * job.output.width as usize * lanes as usize {
        ..MANY => some(0..count),
        _ => job.share(count, some),
    }
}
