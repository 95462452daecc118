//! Local response normalisation.
//!
//! Squares are laid out channel by channel, whatever the layout of the maps, so that the sums over
//! channels run along the width. Every sum goes from the first channel to the last.

use super::job::Job;
use super::lines::each_line;
use super::map::Map;
use crate::graph::Lrn;
use crate::region::ChannelRange;

/// Computes a region of the normalised input.
pub(super) fn normalise(job: &Job<'_>, lrn: &Lrn, input: &Map, output: &mut Map) {
    let (total, width) = (job.shape.channels, job.output.width as usize);
    let (lanes, from_lanes) = (job.output.lanes as usize, input.lanes() as usize);
    let elements = input.as_slice();
    let factor = lrn.alpha / lrn.size as f32;
    each_line(job, output.as_mut_slice(), |line, out| {
        let first = lrn.around(line.channels.start, total).start;
        let channels = ChannelRange::new(first, lrn.around(line.channels.end - 1, total).end);
        let values = |channel: u32| {
            let lane = channel as usize % from_lanes;
            elements[input.line(channel, line.row)][lane..].iter().step_by(from_lanes)
        };
        job.scratch.lend((channels.len() as usize + 1) * width, |room| {
            let (sums, squares) = room.split_at_mut(width);
            let rows = squares.chunks_exact_mut(width);
            for (channel, row) in (channels.start..channels.end).zip(rows) {
                row.iter_mut().zip(values(channel)).for_each(|(square, x)| *square = x * x);
            }
            for channel in line.channels.start..line.channels.end {
                let around = lrn.around(channel, total);
                sums.fill(0.0);
                for other in around.start..around.end {
                    let row = &squares[(other - first) as usize * width..][..width];
                    sums.iter_mut().zip(row).for_each(|(sum, square)| *sum += square);
                }
                sums.iter_mut().for_each(|sum| *sum = lrn.bias + factor * *sum);
                power(sums, lrn.beta);
                let out = out[channel as usize % lanes..].iter_mut().step_by(lanes);
                let parts = values(channel).zip(&*sums);
                out.zip(parts).for_each(|(out, (x, power))| *out = x / power);
            }
        });
    });
}

/// Raises all numbers to the power of `exponent`.
fn power(numbers: &mut [f32], exponent: f32) {
    if exponent == 0.75 {
        // The one that networks use, as two roots.
        for number in numbers {
            let root = number.sqrt();
            *number = root * root.sqrt();
        }
    } else {
        numbers.iter_mut().for_each(|number| *number = number.powf(exponent));
    }
}
