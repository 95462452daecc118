//! Depthwise convolution: every output channel reads one input channel.

use pulp::Simd;

use super::job::Job;
use super::slide::{Channel, Fold, slide};
use super::weights::Weights;
use crate::graph::Conv;

#[derive(Clone, Copy)]
struct WeightedSum;

impl Fold for WeightedSum {
    const START: f32 = 0.0;

    #[inline(always)]
    fn fold<S: Simd>(
        simd: S,
        sum: S::f32s,
        input: S::f32s,
        weights: &[f32],
        column: usize,
    ) -> S::f32s {
        simd.mul_add_e_f32s(input, simd.splat_f32s(weights[column]), sum)
    }

    #[inline(always)]
    fn weights(weights: &[f32], row: usize, width: usize) -> &[f32] {
        &weights[row * width..][..width]
    }
}

/// Computes a region of a depthwise convolution.
pub(super) fn compute(
    job: &Job<'_>,
    conv: &Conv,
    weights: &Weights,
    input: &[f32],
    output: &mut [f32],
) {
    let per_channel = conv.features / conv.groups;
    let channels: Vec<Channel<'_>> = weights
        .rows(job.region.channels)
        .map(|(output, weights, bias)| Channel {
            input: output / per_channel,
            output,
            weights,
            bias,
        })
        .collect();
    slide::<WeightedSum>(job, conv.window, &channels, None, input, output);
}
