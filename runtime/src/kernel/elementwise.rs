//! Operators that touch every element once: Add, Concat, Identity, Softmax.
//!
//! They are bound by memory, so each is one pass over lines of the maps, activation included.

use super::map::Map;
use crate::graph::Activation;
use crate::region::{ChannelRange, Region};

/// The elements of `region` that lie side by side in a map: whole rows, and for a map of just
/// these rows all of them.
fn lines(map: &Map, channel: u32, region: Region) -> std::ops::Range<usize> {
    let first = map.line(channel, region.rows.start);
    first.start..first.start + first.len() * region.rows.len() as usize
}

/// The sum of all inputs.
pub(super) fn add(inputs: &[&Map], output: &mut Map, region: Region, activation: Activation) {
    let Some((first, rest)) = inputs.split_first() else { return };
    for channel in region.channels.start..region.channels.end {
        let to = lines(output, channel, region);
        let sum = &mut output.as_mut_slice()[to];
        sum.copy_from_slice(&first.as_slice()[lines(first, channel, region)]);
        for input in rest {
            let summand = &input.as_slice()[lines(input, channel, region)];
            sum.iter_mut().zip(summand).for_each(|(sum, x)| *sum += x);
        }
        activation.apply(sum);
    }
}

/// The input as it is.
pub(super) fn identity(input: &Map, output: &mut Map, region: Region, activation: Activation) {
    for channel in region.channels.start..region.channels.end {
        let to = lines(output, channel, region);
        let target = &mut output.as_mut_slice()[to];
        target.copy_from_slice(&input.as_slice()[lines(input, channel, region)]);
        activation.apply(target);
    }
}

/// Channels of all inputs one after the other; `channels` are the inputs' own.
pub(super) fn concat(
    inputs: &[&Map],
    channels: impl Iterator<Item = u32>,
    output: &mut Map,
    region: Region,
    activation: Activation,
) {
    let mut offset = 0;
    for (input, count) in inputs.iter().zip(channels) {
        let part = region.channels.intersect(ChannelRange::new(offset, offset + count));
        for channel in part.start..part.end {
            let to = lines(output, channel, region);
            let target = &mut output.as_mut_slice()[to];
            target.copy_from_slice(&input.as_slice()[lines(input, channel - offset, region)]);
            activation.apply(target);
        }
        offset += count;
    }
}

/// Softmax over all elements of a vector, of which `region` is computed.
pub(super) fn softmax(input: &Map, output: &mut Map, region: Region, activation: Activation) {
    let elements = input.as_slice();
    let largest = elements.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = elements.iter().map(|x| (x - largest).exp()).sum();
    for channel in region.channels.start..region.channels.end {
        let from = input.line(channel, 0);
        let to = output.line(channel, 0);
        let target = &mut output.as_mut_slice()[to];
        target[0] = (elements[from.start] - largest).exp() / sum;
        activation.apply(target);
    }
}
