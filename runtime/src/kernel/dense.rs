//! Dense layers: every feature is a sum over the whole input.
//!
//! With one input at a time a dense layer reads each weight once, so it is as fast as memory
//! gives them. They lie as elements x 16 features: each element of the input times one cache line
//! of weights, added up in four chains that do not wait for each other, is a block of the output:
//!
//! ```text
//! output 0..16  =  ((x0 w0 + x4 w4 + ..) + (x1 w1 + ..)) + ((x2 w2 + ..) + (x3 w3 + ..)) + bias
//! ```

use pulp::{Simd, WithSimd};

use super::activate::activate;
use super::job::Job;
use super::layout::LANES;
use super::threads::Parts;
use super::vector;
use super::weights::{Block, Weights};

/// Features of a block.
const BLOCK: usize = LANES as usize;

/// Sums of one block that do not wait for each other; their number is part of the result.
const CHAINS: usize = 4;

/// Computes features of a dense layer from the whole input.
pub(super) fn compute(job: &Job<'_>, weights: &Weights, input: &[f32], output: &mut [f32]) {
    let blocks: Vec<Block<'_>> = weights.blocks(job.region.channels).collect();
    let output = Parts::new(output);
    let first = job.output.line(job.region.channels.start, 0).start;
    job.scratch.lend(job.shape.elements() as usize, |elements| {
        real(job, input, elements);
        let elements = &*elements;
        job.share(blocks.len(), |units| {
            for unit in units {
                let start = first + unit * BLOCK;
                // SAFETY: no other task has this block.
                let out = unsafe { output.part(start..start + BLOCK) };
                job.arch.dispatch(Product { job, block: blocks[unit], elements, out });
            }
        });
    });
}

/// The input without the lanes that are no channels.
fn real(job: &Job<'_>, input: &[f32], elements: &mut [f32]) {
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

/// A block of features.
struct Product<'a> {
    job: &'a Job<'a>,
    block: Block<'a>,
    elements: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match BLOCK / S::F32_LANES {
            1 => self.sums::<S, 1>(simd),
            2 => self.sums::<S, 2>(simd),
            4 => self.sums::<S, 4>(simd),
            _ => self.sums::<S, BLOCK>(simd),
        }
    }
}

impl Product<'_> {
    /// With `V` vectors to a block.
    #[inline(always)]
    fn sums<S: Simd, const V: usize>(self, simd: S) {
        let mut sums = [[simd.splat_f32s(0.0); V]; CHAINS];
        let (weights, _) = self.block.weights.as_chunks::<BLOCK>();
        let (inputs, rest) = self.elements.as_chunks::<CHAINS>();
        let (groups, last) = weights.as_chunks::<CHAINS>();
        for (input, weights) in inputs.iter().zip(groups) {
            for chain in 0..CHAINS {
                let input = simd.splat_f32s(input[chain]);
                for v in 0..V {
                    let weight = vector::at::<S>(&weights[chain][v * S::F32_LANES..]);
                    sums[chain][v] = simd.mul_add_e_f32s(weight, input, sums[chain][v]);
                }
            }
        }
        for (chain, (input, weights)) in rest.iter().zip(last).enumerate() {
            let input = simd.splat_f32s(*input);
            for v in 0..V {
                let weight = vector::at::<S>(&weights[v * S::F32_LANES..]);
                sums[chain][v] = simd.mul_add_e_f32s(weight, input, sums[chain][v]);
            }
        }
        let [a, b, c, d] = sums;
        for v in 0..V {
            let (ab, cd) = (simd.add_f32s(a[v], b[v]), simd.add_f32s(c[v], d[v]));
            let bias = vector::at::<S>(&self.block.bias[v * S::F32_LANES..]);
            let sum = simd.add_f32s(simd.add_f32s(ab, cd), bias);
            let result = activate(simd, sum, self.job.activation);
            vector::put::<S>(&mut self.out[v * S::F32_LANES..], result);
        }
    }
}
