//! The register tile: the product in the inner loop of convolutions.
//!
//! A tile is up to 14 pixels times one to four blocks of 16 features. All its sums stay in
//! registers while the elements of a window are added up one by one: for each, one vector of
//! weights per block is loaded and multiplied by the broadcast element of every pixel:
//!
//! ```text
//!                 16 features  16 features
//! pixel 0   x  *  [w w w w..]  [w w w w..]   +=  sums[0][0], sums[0][1]
//! pixel 1   x  *       "            "        +=  sums[1][0], sums[1][1]
//! ```
//!
//! Every sum is one lane of one register, added up in the order of the elements, so that its bits
//! depend neither on the position of its pixel in the tile nor on what is computed beside it.
//!
//! [`Segment`]s say where a window's elements lie; the pixels of a tile are equally spaced. That
//! covers windows of a map, windows copied together with their padding, and the transformed tiles
//! of a Winograd convolution. Weights are floats or halves ([`Element`]).

// Matrices of registers: an index says more than an iterator.
#![allow(clippy::needless_range_loop)]

use pulp::{Simd, WithSimd};

use crate::graph::Activation;
use crate::kernel::call::threads::Parts;
use crate::kernel::memory::lanes::BLOCK;
use crate::kernel::memory::segment::Segment;
use crate::kernel::simd::activate::limit;
use crate::kernel::simd::element::Element;
use crate::kernel::simd::vector;

/// Most blocks of a tile.
pub(crate) const MOST_BLOCKS: usize = 4;

/// Most pixels of a tile.
pub(crate) const MOST_PIXELS: usize = 14;

/// What many tiles have in common.
pub(crate) struct Sums<'a> {
    /// The memory in which the segments lie.
    pub(crate) input: &'a [f32],
    /// Elements from pixel to pixel.
    pub(crate) step: usize,
    /// The elements of a window, in the order of the weights.
    pub(crate) segments: &'a [Segment],
    /// Where the sums are written.
    pub(crate) output: &'a Parts<'a>,
    /// Added to the sums at the end.
    pub(crate) addend: Option<&'a [f32]>,
    /// Applied to every sum.
    pub(crate) activation: Activation,
}

/// Blocks of features that are multiplied together.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a, W> {
    /// Each block's elements x [`BLOCK`] weights.
    pub(crate) weights: [&'a [W]; MOST_BLOCKS],
    /// What each block's sums start from.
    pub(crate) bias: [&'a [f32; BLOCK]; MOST_BLOCKS],
    /// Where in the output the first pixel of each block's map lies.
    pub(crate) output: [usize; MOST_BLOCKS],
    /// The same in the addend, where there is one.
    pub(crate) addend: [usize; MOST_BLOCKS],
    /// How many blocks there are.
    pub(crate) count: usize,
    /// Weights that are needed next, fetched into the caches meanwhile.
    pub(crate) next: [&'a [W]; MOST_BLOCKS],
}

impl<W: Element> Blocks<'_, W> {
    /// The same for a tile that is followed by others with these weights: nothing else is fetched.
    pub(crate) fn without_prefetch(self) -> Self {
        Blocks { next: self.weights, ..self }
    }
}

/// Pixels that are computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pixels {
    /// Where in the input the first pixel's window starts.
    pub(crate) input: usize,
    /// Where the first pixel lies in a block of the output.
    pub(crate) output: usize,
    /// How many.
    pub(crate) count: usize,
}

/// The allowed numbers of pixels per tile, largest first.
fn sizes<S: Simd>() -> &'static [usize] {
    match S::F32_LANES {
        16 => &[MOST_PIXELS, 13, 7, 4, 2, 1],
        8 | 4 => &[6, 5, 4, 3, 2, 1],
        _ => &[2, 1],
    }
}

/// How many blocks a tile with this many pixels may have.
pub(crate) fn blocks<S: Simd>(pixels: usize) -> usize {
    match (S::F32_LANES, pixels) {
        (16, ..=4) => 4,
        (16, _) => 2,
        _ => 1,
    }
}

/// A row of pixels cut into tiles: as many of one size as fit, then smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Pixels of the large tiles.
    pub(crate) largest: usize,
    /// How many of them there are.
    large: usize,
    /// Pixels of the tiles after them; zeros behind the last.
    small: [usize; SMALL],
    /// All tiles.
    pub(crate) len: usize,
}

/// Tiles that may follow the large ones.
const SMALL: usize = 6;

impl Cut {
    /// Cuts a row into the tiles that take the least time.
    pub(crate) fn new<S: Simd>(pixels: usize) -> Cut {
        let cut = |largest: usize| {
            let mut cut = Cut { largest, large: pixels / largest, small: [0; SMALL], len: 0 };
            cut.len = cut.large;
            let mut left = pixels % largest;
            for size in sizes::<S>() {
                while left >= *size && cut.len - cut.large < SMALL {
                    cut.small[cut.len - cut.large] = *size;
                    cut.len += 1;
                    left -= size;
                }
            }
            (left == 0).then_some(cut)
        };
        // A tile of fewer than four pixels takes as long as one of four: loading weights dominates.
        let time = |size: usize| 1 + size.max(4);
        let cost = |cut: &Cut| {
            let small = cut.small[..cut.len - cut.large].iter();
            cut.large * time(cut.largest) + small.map(|size| time(*size)).sum::<usize>()
        };
        let cuts = sizes::<S>().iter().filter_map(|largest| cut(*largest));
        // Tiles of one pixel always fit.
        let ones = Cut { largest: 1, large: pixels, small: [0; SMALL], len: pixels };
        cuts.min_by_key(cost).unwrap_or(ones)
    }

    /// Where a tile starts, and how many pixels it has.
    pub(crate) fn tile(&self, index: usize) -> (usize, usize) {
        if index < self.large {
            return (index * self.largest, self.largest);
        }
        let small = &self.small[..index - self.large];
        let start = self.large * self.largest + small.iter().sum::<usize>();
        (start, self.small[index - self.large])
    }
}

/// How many of `left` blocks make up the next tile, if at most `most` may.
pub(crate) fn group(most: usize, left: usize) -> usize {
    match most.min(left) {
        3 => 2,
        count => count,
    }
}

impl Sums<'_> {
    /// Computes a tile. The number of pixels is one of [`sizes`]; there are 1, 2 or 4 blocks, up to
    /// [`blocks`].
    #[inline(always)]
    pub(crate) fn tile<S: Simd, W: Element>(
        &self,
        simd: S,
        blocks: &Blocks<'_, W>,
        pixels: Pixels,
    ) {
        match self.step {
            BLOCK => self.sized::<S, W, BLOCK>(simd, blocks, pixels),
            _ => self.sized::<S, W, 0>(simd, blocks, pixels),
        }
    }

    #[inline(always)]
    fn sized<S: Simd, W: Element, const STEP: usize>(
        &self,
        simd: S,
        blocks: &Blocks<'_, W>,
        pixels: Pixels,
    ) {
        macro_rules! tile {
            ($p:literal, $v:literal) => {
                simd.vectorize(Tile::<W, $p, $v, STEP> { sums: self, blocks, pixels })
            };
        }
        // Nested matches, so that each instruction set compiles only its own tiles.
        match S::F32_LANES {
            16 => match (pixels.count, blocks.count) {
                (14, 2) => tile!(14, 2),
                (14, _) => tile!(14, 1),
                (13, 2) => tile!(13, 2),
                (13, _) => tile!(13, 1),
                (7, 2) => tile!(7, 2),
                (7, _) => tile!(7, 1),
                (4, 4) => tile!(4, 4),
                (4, 2) => tile!(4, 2),
                (4, _) => tile!(4, 1),
                (2, 4) => tile!(2, 4),
                (2, 2) => tile!(2, 2),
                (2, _) => tile!(2, 1),
                (_, 4) => tile!(1, 4),
                (_, 2) => tile!(1, 2),
                (_, _) => tile!(1, 1),
            },
            8 => match pixels.count {
                6 => tile!(6, 2),
                5 => tile!(5, 2),
                4 => tile!(4, 2),
                3 => tile!(3, 2),
                2 => tile!(2, 2),
                _ => tile!(1, 2),
            },
            4 => match pixels.count {
                6 => tile!(6, 4),
                5 => tile!(5, 4),
                4 => tile!(4, 4),
                3 => tile!(3, 4),
                2 => tile!(2, 4),
                _ => tile!(1, 4),
            },
            _ => match pixels.count {
                2 => tile!(2, 16),
                _ => tile!(1, 16),
            },
        }
    }
}

/// `P` pixels times `V` vectors of features; `STEP` is the pixels' distance where it is known.
struct Tile<'a, W, const P: usize, const V: usize, const STEP: usize> {
    sums: &'a Sums<'a>,
    blocks: &'a Blocks<'a, W>,
    pixels: Pixels,
}

impl<W: Element, const P: usize, const V: usize, const STEP: usize> WithSimd
    for Tile<'_, W, P, V, STEP>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { sums, blocks, pixels } = self;
        // Vectors of a block.
        let per = BLOCK / S::F32_LANES;
        assert!(pixels.count == P && blocks.count * per == V, "a tile of another size");
        let step = if STEP == 0 { sums.step } else { STEP };
        let reach =
            sums.segments.iter().map(|segment| segment.offset + segment.len).max().unwrap_or(0);
        assert!(pixels.input + (P - 1) * step + reach <= sums.input.len(), "outside the input");
        let elements: usize = sums.segments.iter().map(|segment| segment.len).sum();
        assert!(
            blocks.weights[..blocks.count].iter().all(|panel| panel.len() >= elements * BLOCK),
            "too few weights"
        );

        let mut weights = [std::ptr::null::<W>(); V];
        let mut next = [std::ptr::null::<W>(); V];
        let mut results = [[simd.splat_f32s(0.0); V]; P];
        for v in 0..V {
            let (block, part) = (v / per, v % per * S::F32_LANES);
            weights[v] = blocks.weights[block][part.min(elements * BLOCK)..].as_ptr();
            next[v] = blocks.next[block].as_ptr().wrapping_add(part);
            let bias = vector::load::<S>(&blocks.bias[block][part..]);
            for result in &mut results {
                result[v] = bias;
            }
        }
        for segment in sums.segments {
            // SAFETY: the assertions above keep every pixel's element of every segment within the
            // input, and as many vectors of weights as there are elements within each panel. Weights
            // are packed as halves only for kernels that can read them.
            unsafe {
                let mut at = sums.input.as_ptr().add(pixels.input + segment.offset);
                for _ in 0..segment.len {
                    let mut vectors = [simd.splat_f32s(0.0); V];
                    for v in 0..V {
                        vectors[v] = W::load_ptr(simd, weights[v]);
                        // After the last element that may lie beyond the panel: not `add`.
                        weights[v] = weights[v].wrapping_add(BLOCK);
                        vector::prefetch(next[v]);
                        next[v] = next[v].wrapping_add(BLOCK);
                    }
                    for p in 0..P {
                        let element = simd.splat_f32s(*at.add(p * step));
                        for v in 0..V {
                            results[p][v] = simd.mul_add_e_f32s(element, vectors[v], results[p][v]);
                        }
                    }
                    at = at.add(1);
                }
            }
        }
        let limits = sums.activation.limits();
        for v in 0..V {
            let (block, part) = (v / per, v % per * S::F32_LANES);
            if let Some(addend) = sums.addend {
                let start = blocks.addend[block] + pixels.output;
                let (addend, _) = addend[start..start + P * BLOCK].as_chunks::<BLOCK>();
                for p in 0..P {
                    let other = vector::load::<S>(&addend[p][part..]);
                    results[p][v] = simd.add_f32s(results[p][v], other);
                }
            }
            let start = blocks.output[block] + pixels.output;
            // SAFETY: no other task has these pixels of this block.
            let out = unsafe { sums.output.part(start..start + P * BLOCK) };
            let (out, _) = out.as_chunks_mut::<BLOCK>();
            for p in 0..P {
                vector::store::<S>(&mut out[p][part..], limit(simd, results[p][v], limits));
            }
            if part + S::F32_LANES == BLOCK {
                sums.activation.apply_curve(simd, out.as_flattened_mut());
            }
        }
    }
}
