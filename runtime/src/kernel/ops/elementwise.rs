//! Operators that touch every element once: Add, Concat, Identity, Softmax.
//!
//! They are bound by memory, so each makes one pass over the maps, including the activation. Lanes
//! that are no channels are computed like all others.

use crate::kernel::call::job::Job;
use crate::kernel::call::lines::{Band, each_band};
use crate::kernel::memory::map::Map;
use crate::region::ChannelRange;

/// Lanes that are copied at once if all offsets allow it, as they do in most networks.
const QUAD: usize = 4;

/// The sum of all inputs.
pub(crate) fn add(job: &Job<'_>, inputs: &[&Map], output: &mut Map) {
    let inputs: Vec<_> = inputs.iter().map(|map| (map.place(), map.as_slice())).collect();
    let Some(((place, first), rest)) = inputs.split_first() else { return };
    each_band(job, output.as_mut_slice(), |band, sums| {
        let first = &first[band.of(*place)];
        match rest {
            [(place, second)] => {
                let summands = first.iter().zip(&second[band.of(*place)]);
                sums.iter_mut().zip(summands).for_each(|(sum, (a, b))| *sum = a + b);
            }
            _ => {
                sums.copy_from_slice(first);
                for (place, input) in rest {
                    let summands = &input[band.of(*place)];
                    sums.iter_mut().zip(summands).for_each(|(sum, x)| *sum += x);
                }
            }
        }
        job.activation.apply(job.arch, sums);
    });
}

/// A copy of the input.
pub(crate) fn identity(job: &Job<'_>, input: &Map, output: &mut Map) {
    let (place, input) = (input.place(), input.as_slice());
    each_band(job, output.as_mut_slice(), |band, out| {
        out.copy_from_slice(&input[band.of(place)]);
        job.activation.apply(job.arch, out);
    });
}

/// The channels of all inputs, one after another; `channels` are their numbers. Whole blocks are
/// copied as they are; if an input starts within a block of the output, its lanes move.
pub(crate) fn concat(
    job: &Job<'_>,
    inputs: &[&Map],
    channels: impl Iterator<Item = u32>,
    output: &mut Map,
) {
    let mut end = 0;
    let inputs: Vec<_> = (inputs.iter().zip(channels))
        .map(|(map, count)| {
            let first = end;
            end += count;
            (ChannelRange::new(first, end), map.place(), map.as_slice())
        })
        .collect();
    let lanes = job.output.lanes;
    each_band(job, output.as_mut_slice(), |band, out| {
        for &(channels, place, input) in &inputs {
            let mut part = band.channels.intersect(channels);
            while !part.is_empty() {
                let (from, to) = (part.start - channels.start, part.start % lanes);
                let count = part.len().min(lanes - from % lanes);
                let read = ChannelRange::new(from, from + count);
                let input = &input[Band { channels: read, ..band }.of(place)];
                let moved = (from % lanes, to, count);
                if moved.0 == 0 && to == 0 {
                    // Lanes after the input's last channel belong to the next input or to nobody.
                    out.copy_from_slice(input);
                } else if (from | to | count).is_multiple_of(QUAD as u32) {
                    copy_lanes::<QUAD>(input, out, lanes, moved);
                } else {
                    copy_lanes::<1>(input, out, lanes, moved);
                }
                part.start += count;
            }
        }
        job.activation.apply(job.arch, out);
    });
}

/// Copies `count` lanes of every pixel, from lane `from` to lane `to`, `U` at a time.
#[inline(always)]
fn copy_lanes<const U: usize>(
    input: &[f32],
    out: &mut [f32],
    lanes: u32,
    (from, to, count): (u32, u32, u32),
) {
    let [units, from, to, count] = [lanes, from, to, count].map(|lanes| lanes as usize / U);
    let (input, _) = input.as_chunks::<U>();
    let (out, _) = out.as_chunks_mut::<U>();
    for (pixel, out) in input.chunks_exact(units).zip(out.chunks_exact_mut(units)) {
        let pairs = pixel[from..from + count].iter().zip(&mut out[to..to + count]);
        pairs.for_each(|(from, to)| *to = *from);
    }
}

/// Softmax over all elements of a vector; only the job's region is computed.
pub(crate) fn softmax(job: &Job<'_>, input: &Map, output: &mut Map) {
    // With one pixel per block, channels are contiguous.
    let elements = &input.as_slice()[..job.shape.channels as usize];
    let largest = elements.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = elements.iter().map(|x| (x - largest).exp()).sum();
    let region = job.region.channels;
    let start = job.output.line(region.start, 0).start;
    let target = &mut output.as_mut_slice()[start..][..region.len() as usize];
    for (target, x) in target.iter_mut().zip(&elements[region.indices()]) {
        *target = (x - largest).exp() / sum;
    }
    job.activation.apply(job.arch, target);
}
