//! Depthwise convolution: every output channel reads one input channel.

use std::sync::Arc;

use pulp::Simd;

use super::weights::{Block, Panels};
use crate::graph::Conv;
use crate::kernel::call::job::Job;
use crate::kernel::memory::map::Place;
use crate::kernel::ops::slide::{At, Fold, slide};
use crate::kernel::simd::element::Element;
use crate::kernel::simd::vector;
use crate::region::Region;

struct WeightedSum<'a, W> {
    blocks: &'a [Arc<Block<W>>],
}

impl<W: Element> Fold for WeightedSum<'_, W> {
    type Weight = W;

    const PADDING: f32 = 0.0;

    #[inline(always)]
    fn weights(&self, block: usize) -> &[W] {
        &self.blocks[block].weights
    }

    #[inline(always)]
    fn start<S: Simd>(&self, _: S, at: At) -> S::f32s {
        vector::load::<S>(&self.blocks[at.block].bias[at.lane..])
    }

    #[inline(always)]
    fn fold<S: Simd>(simd: S, sum: S::f32s, input: S::f32s, weight: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(input, weight, sum)
    }
}

/// Computes a region of a depthwise convolution.
pub(crate) fn compute<W: Element>(
    job: &Job<'_>,
    conv: &Conv,
    weights: &Panels<W>,
    input: &[f32],
    output: &mut [f32],
) {
    let fold = WeightedSum { blocks: weights.blocks(job.region.channels) };
    let multiplier = conv.features / conv.groups;
    if multiplier == 1 {
        return slide(job, conv.window, &fold, input, output);
    }
    let rows = conv.window.rows.reads(job.region.rows, job.shape.rows);
    let region = Region::new(job.region.channels, rows);
    let place = Place { region, ..job.input };
    job.scratch.lend(place.axes().iter().product(), |spread| {
        repeat(job.input, input, multiplier, place, spread);
        slide(&Job { input: place, ..*job }, conv.window, &fold, spread, output);
    });
}

/// Repeats every channel `multiplier` times, so that output channel c reads channel c.
fn repeat(from: Place, input: &[f32], multiplier: u32, to: Place, spread: &mut [f32]) {
    let lanes = to.lanes as usize;
    for channel in to.region.channels.start..to.region.channels.end {
        let source = channel / multiplier;
        for row in to.region.rows.start..to.region.rows.end {
            let line = input[from.line(source, row)].iter().skip(source as usize % lanes);
            let target = spread[to.line(channel, row)].iter_mut().skip(channel as usize % lanes);
            target.step_by(lanes).zip(line.step_by(lanes)).for_each(|(to, from)| *to = *from);
        }
    }
}
