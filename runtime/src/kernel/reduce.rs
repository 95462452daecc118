//! Sums over the width and over the rows: the two halves of a global mean.
//!
//! Rows are added in their order, one after the other, so that it does not matter which devices
//! computed the sums of the rows.

use super::map::Map;
use crate::graph::Activation;
use crate::region::Region;

/// Partial sums of a row, so that additions need not wait for each other; always as many, so
/// that a row's sum is the same wherever it is computed.
const PARTIAL: usize = 16;

/// The sum of every row of `region`.
pub(super) fn sum_width(input: &Map, output: &mut Map, region: Region, activation: Activation) {
    for channel in region.channels.start..region.channels.end {
        for row in region.rows.start..region.rows.end {
            let sum = sum(&input.as_slice()[input.line(channel, row)]);
            let to = output.line(channel, row);
            let target = &mut output.as_mut_slice()[to];
            target[0] = sum;
            activation.apply(target);
        }
    }
}

/// The sum of all `rows` rows, column by column, times `scale`.
pub(super) fn sum_rows(
    input: &Map,
    rows: u32,
    scale: f32,
    output: &mut Map,
    region: Region,
    activation: Activation,
) {
    for channel in region.channels.start..region.channels.end {
        let to = output.line(channel, 0);
        let target = &mut output.as_mut_slice()[to];
        target.fill(0.0);
        for row in 0..rows {
            let summand = &input.as_slice()[input.line(channel, row)];
            target.iter_mut().zip(summand).for_each(|(sum, x)| *sum += x);
        }
        target.iter_mut().for_each(|sum| *sum *= scale);
        activation.apply(target);
    }
}

fn sum(elements: &[f32]) -> f32 {
    let (chunks, rest) = elements.as_chunks::<PARTIAL>();
    let mut partial = [0.0; PARTIAL];
    for chunk in chunks {
        partial.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
    }
    partial.iter_mut().zip(rest).for_each(|(sum, x)| *sum += x);
    partial.iter().sum()
}
