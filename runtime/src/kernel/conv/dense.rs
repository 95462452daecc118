//! Dense layers: every feature is a sum over the whole input.
//!
//! With one input at a time a dense layer reads each weight once, so it is bound by memory. Weights
//! lie as elements x 16 features: each element of the input is multiplied by one cache line of
//! weights, and the products are added up in two independent chains:
//!
//! ```text
//! output 0..16  =  ((x0 w0 + x2 w2 + ..) + (x1 w1 + x3 w3 + ..)) + bias
//! ```
//!
//! Several blocks are computed side by side: reading several streams of weights is a third faster
//! than reading one. Halves are read in about half the time.

use std::ops::Range;

use std::sync::Arc;

use pulp::{Simd, WithSimd};

use super::weights::{Block, Panels};
use crate::kernel::call::job::Job;
use crate::kernel::call::threads::Parts;
use crate::kernel::memory::lanes::{BLOCK, LANES};
use crate::kernel::simd::activate::activate;
use crate::kernel::simd::element::Element;
use crate::kernel::simd::vector;

/// Independent partial sums per block; their number is part of the result.
const CHAINS: usize = 2;

/// Computes features of a dense layer from the whole input.
pub(crate) fn compute<W: Element>(
    job: &Job<'_>,
    weights: &Panels<W>,
    input: &[f32],
    output: &mut [f32],
) {
    let blocks = weights.blocks(job.region.channels);
    let output = Parts::new(output);
    let first = job.output.line(job.region.channels.start, 0).start;
    job.scratch.lend(job.shape.elements() as usize, |elements| {
        copy_channels(job, input, elements);
        let elements = &*elements;
        job.share(blocks.len(), |units: Range<usize>| {
            let place = first + units.start * BLOCK..first + units.end * BLOCK;
            // SAFETY: no other task has these blocks.
            let out = unsafe { output.part(place) };
            let (out, _) = out.as_chunks_mut();
            job.arch.dispatch(Product { job, blocks: &blocks[units], elements, out });
        });
    });
}

/// Copies the input without the lanes that are no channels.
fn copy_channels(job: &Job<'_>, input: &[f32], elements: &mut [f32]) {
    let lanes = (job.shape.channels % LANES) as usize;
    let tail = lanes * (job.shape.rows * job.shape.width) as usize;
    let whole = elements.len() - tail;
    elements[..whole].copy_from_slice(&input[..whole]);
    if lanes > 0 {
        let pixels = elements[whole..].chunks_exact_mut(lanes);
        for (to, from) in pixels.zip(input[whole..].chunks_exact(BLOCK)) {
            to.copy_from_slice(&from[..lanes]);
        }
    }
}

/// Some blocks of features.
struct Product<'a, W> {
    job: &'a Job<'a>,
    blocks: &'a [Arc<Block<W>>],
    elements: &'a [f32],
    out: &'a mut [[f32; BLOCK]],
}

impl<W: Element> WithSimd for Product<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many streams as registers hold the sums of.
        match BLOCK / S::F32_LANES {
            1 => self.streams::<S, 1, 4>(simd),
            2 => self.streams::<S, 2, 2>(simd),
            4 => self.streams::<S, 4, 2>(simd),
            _ => self.streams::<S, BLOCK, 1>(simd),
        }
    }
}

impl<W: Element> Product<'_, W> {
    /// All blocks, `B` at a time, with `V` vectors to a block.
    #[inline(always)]
    fn streams<S: Simd, const V: usize, const B: usize>(self, simd: S) {
        let (groups, rest) = self.blocks.as_chunks::<B>();
        let (out_groups, out_rest) = self.out.as_chunks_mut::<B>();
        let activation = self.job.activation;
        let store = |sums: [S::f32s; V], block: &Arc<Block<W>>, out: &mut [f32; BLOCK]| {
            for (v, sum) in sums.into_iter().enumerate() {
                let place = v * S::F32_LANES;
                let sum = simd.add_f32s(sum, vector::load::<S>(&block.bias[place..]));
                vector::store::<S>(&mut out[place..], activate(simd, sum, activation));
            }
        };
        for (group, out) in groups.iter().zip(out_groups) {
            let sums = sums::<S, W, V, B>(
                simd,
                group.each_ref().map(|block| &*block.weights),
                self.elements,
            );
            for ((sums, block), out) in sums.into_iter().zip(group).zip(out) {
                store(sums, block, out);
            }
        }
        for (block, out) in rest.iter().zip(out_rest) {
            let [sums] = sums::<S, W, V, 1>(simd, [&block.weights], self.elements);
            store(sums, block, out);
        }
    }
}

/// The sums of `B` blocks; each is the same whatever `B` is.
#[inline(always)]
fn sums<S: Simd, W: Element, const V: usize, const B: usize>(
    simd: S,
    weights: [&[W]; B],
    elements: &[f32],
) -> [[S::f32s; V]; B] {
    let mut chains = [[[simd.splat_f32s(0.0); V]; B]; CHAINS];
    let weights = weights.map(|weights| &weights.as_chunks::<BLOCK>().0[..elements.len()]);
    let whole = elements.len() / CHAINS * CHAINS;
    for first in (0..whole).step_by(CHAINS) {
        for (chain, sums) in chains.iter_mut().enumerate() {
            add(simd, weights, elements, first + chain, sums);
        }
    }
    for element in whole..elements.len() {
        add(simd, weights, elements, element, &mut chains[element - whole]);
    }
    let [a, b] = chains;
    std::array::from_fn(|block| std::array::from_fn(|v| simd.add_f32s(a[block][v], b[block][v])))
}

/// Adds the products of one element.
#[inline(always)]
fn add<S: Simd, W: Element, const V: usize, const B: usize>(
    simd: S,
    weights: [&[[W; BLOCK]]; B],
    elements: &[f32],
    element: usize,
    sums: &mut [[S::f32s; V]; B],
) {
    let input = simd.splat_f32s(elements[element]);
    for b in 0..B {
        for v in 0..V {
            let weight = W::load(simd, &weights[b][element][v * S::F32_LANES..]);
            sums[b][v] = simd.mul_add_e_f32s(weight, input, sums[b][v]);
        }
    }
}
