//! The product that a convolution is: a tile of pixels times a block of features.
//!
//! A tile is up to three vectors of pixels, a block eight features. Their 24 sums stay in
//! registers while all elements of a window are added up: for each element three vectors of
//! pixels are loaded once and multiplied with eight broadcast weights. Every sum is one lane of
//! one register, added up in the order of the elements, so that its bits depend neither on where
//! in a tile its pixel lies nor on what else is computed beside it.

use pulp::Simd;

use super::activate::limit;
use super::vector;
use super::weights::BLOCK;
use crate::graph::Activation;

/// Vectors of a full tile.
pub(super) const VECTORS: usize = 3;

/// Pixels that are a number of full tiles on every instruction set (of up to 16 lanes).
pub(super) const TILE: usize = 48;

/// What happens to sums before they are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish {
    /// Whether these are the first elements of the window; else what is stored is added to.
    pub(super) first: bool,
    /// Whether these are the last, so that bias and activation apply.
    pub(super) last: bool,
    /// What to apply to every result.
    pub(super) activation: Activation,
}

/// The sums of `V` vectors of pixels times the `F` features from `place` on of a panel of
/// weights; elements x pixels and elements x [`BLOCK`] features.
#[inline(always)]
pub(super) fn sums<S: Simd, const V: usize, const F: usize>(
    simd: S,
    pixels: &[f32],
    weights: &[f32],
    place: usize,
) -> [[S::f32s; V]; F] {
    let mut sums = [[simd.splat_f32s(0.0); V]; F];
    let (pixels, _) = pulp::as_arrays::<V, _>(S::as_simd_f32s(pixels).0);
    let (weights, _) = weights.as_chunks::<{ BLOCK as usize }>();
    for (pixels, weights) in pixels.iter().zip(weights) {
        for f in 0..F {
            let weight = simd.splat_f32s(weights[place + f]);
            for v in 0..V {
                sums[f][v] = simd.mul_add_e_f32s(pixels[v], weight, sums[f][v]);
            }
        }
    }
    sums
}

impl Finish {
    /// Stores the sums of one feature over a tile whose pixels are `out`.
    #[inline(always)]
    pub(super) fn store<S: Simd, const V: usize>(
        self,
        simd: S,
        sums: [S::f32s; V],
        bias: f32,
        out: &mut [f32],
    ) {
        let bias = simd.splat_f32s(bias);
        let limits = self.activation.limits();
        let finish = |sum: S::f32s, before: S::f32s| {
            let sum = if self.first { sum } else { simd.add_f32s(before, sum) };
            if !self.last {
                return sum;
            }
            limit(simd, simd.add_f32s(sum, bias), limits)
        };
        if out.len() == V * S::F32_LANES {
            for (out, sum) in S::as_mut_simd_f32s(out).0.iter_mut().zip(sums) {
                *out = finish(sum, *out);
            }
        } else {
            for (out, sum) in out.chunks_mut(S::F32_LANES).zip(sums) {
                let before = vector::load(simd, out);
                vector::store(simd, out, finish(sum, before));
            }
        }
        if self.last {
            self.activation.bend(simd, out);
        }
    }
}
