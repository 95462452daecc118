//! Local response normalisation.
//!
//! For each pixel, the squares of a block's channels and of their neighbours are stored side by
//! side, with zeros where there is no channel. The sums over neighbouring channels of a whole block
//! then take one addition of vectors per neighbour:
//!
//! ```text
//! block of 16, size 5:   squares   0 0 a b c d ... p q r
//!                        sums      0 0 a b ... + 0 a b c ... + a b c d ... + b c d e ... + ...
//! ```

use crate::graph::Lrn;
use crate::kernel::call::job::Job;
use crate::kernel::call::lines::each_line;
use crate::kernel::memory::map::Map;

/// Computes a region of the normalised input, whose map has the output's layout.
pub(crate) fn normalise(job: &Job<'_>, lrn: &Lrn, input: &Map, output: &mut Map) {
    let (total, lanes) = (job.shape.channels, job.output.lanes);
    // There are no neighbours before the first and after the last channel.
    let size = lrn.size.min(2 * total + 1);
    let before = ((lrn.size - 1) / 2).min(total);
    let (count, elements) = (lanes as usize, input.as_slice());
    let factor = lrn.alpha / lrn.size as f32;
    each_line(job, output.as_mut_slice(), |line, out| {
        let (first, last) = (line.channels.start / lanes * lanes, line.channels.end - 1);
        let (start, end) = (lrn.around(first, total).start, lrn.around(last, total).end);
        // Where squares lie: they start `before` channels before the block.
        let place = |channel: u32| (channel + before - first) as usize;
        let blocks = start / lanes..end.div_ceil(lanes);
        let len = (lanes + size) as usize;
        job.scratch.lend(len + count, |room| {
            let (squares, sums) = room.split_at_mut(len);
            squares.fill(0.0);
            for (x, out) in out.chunks_exact_mut(count).enumerate() {
                for block in blocks.clone() {
                    let from = (block * lanes).max(start);
                    let until = ((block + 1) * lanes).min(end);
                    let lane = (from % lanes) as usize + x * lanes as usize;
                    let pixel = &elements[input.line(from, line.row)][lane..];
                    let pixel = pixel.iter().zip(&mut squares[place(from)..place(until)]);
                    pixel.for_each(|(value, square)| *square = value * value);
                }
                sums.fill(0.0);
                for neighbour in 0..size as usize {
                    let squares = squares[neighbour..].iter();
                    sums.iter_mut().zip(squares).for_each(|(sum, square)| *sum += square);
                }
                sums.iter_mut().for_each(|sum| *sum = lrn.bias + factor * *sum);
                power(sums, lrn.beta);
                let lane = (first % lanes) as usize + x * lanes as usize;
                let values = elements[input.line(first, line.row)][lane..].iter().zip(&*sums);
                out.iter_mut().zip(values).for_each(|(out, (value, power))| *out = value / power);
            }
        });
    });
}

/// Raises all numbers to the power `exponent`.
fn power(numbers: &mut [f32], exponent: f32) {
    if exponent == 0.75 {
        // The one that networks use, computed with two roots.
        for number in numbers {
            let root = number.sqrt();
            *number = root * root.sqrt();
        }
    } else {
        numbers.iter_mut().for_each(|number| *number = number.powf(exponent));
    }
}
