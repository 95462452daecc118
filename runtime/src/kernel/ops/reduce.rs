//! Sums over the width and over the rows: the two halves of a global mean.
//!
//! Rows are added in order, one after another, so that it does not matter which devices computed
//! the sums of the rows.

use crate::kernel::call::job::Job;
use crate::kernel::memory::lanes::LANES;
use crate::kernel::memory::map::Map;

/// Independent partial sums per row. Their number is fixed, so that a row's sum is the same
/// wherever it is computed.
const PARTIAL: usize = 4;

/// The sum of every row of the job's region.
pub(crate) fn sum_width(job: &Job<'_>, input: &Map, output: &mut Map) {
    let sums = output.as_mut_slice();
    let (channels, rows) = (job.region.channels, job.region.rows);
    job.arch.dispatch(|| {
        for channel in (channels.start..channels.end).step_by(job.output.lanes as usize) {
            for row in rows.start..rows.end {
                let line = &input.as_slice()[job.input.line(channel, row)];
                let target = &mut sums[job.output.line(channel, row)];
                match job.output.lanes {
                    LANES => target.copy_from_slice(&sum::<{ LANES as usize }>(line)),
                    _ => target.copy_from_slice(&sum::<1>(line)),
                }
                job.activation.apply(job.arch, target);
            }
        }
    });
}

/// The sum of all rows, column by column, times `scale`.
pub(crate) fn sum_rows(job: &Job<'_>, scale: f32, input: &Map, output: &mut Map) {
    let sums = output.as_mut_slice();
    let channels = job.region.channels;
    job.arch.dispatch(|| {
        for channel in (channels.start..channels.end).step_by(job.output.lanes as usize) {
            let target = &mut sums[job.output.line(channel, 0)];
            target.fill(0.0);
            for row in 0..job.shape.rows {
                let summands = &input.as_slice()[job.input.line(channel, row)];
                target.iter_mut().zip(summands).for_each(|(sum, x)| *sum += x);
            }
            target.iter_mut().for_each(|sum| *sum *= scale);
            job.activation.apply(job.arch, target);
        }
    });
}

/// The sum of all pixels of a line, lane by lane.
#[inline(always)]
fn sum<const L: usize>(line: &[f32]) -> [f32; L] {
    let mut partial = [[0.0; L]; PARTIAL];
    let (pixels, _) = line.as_chunks::<L>();
    for group in pixels.chunks(PARTIAL) {
        for (partial, pixel) in partial.iter_mut().zip(group) {
            partial.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
        }
    }
    let [a, b, c, d] = partial;
    std::array::from_fn(|lane| (a[lane] + b[lane]) + (c[lane] + d[lane]))
}
