//! Windows that slide over channels one by one: depthwise convolutions and pools.
//!
//! A vector holds neighbouring channels of one pixel, so nothing has to be shifted or copied: cell
//! (row, column) of the window of output x is a plain load, whatever the stride and dilation. A
//! **tile** of seven neighbouring outputs is computed at once:
//!
//! ```text
//! 3x3, stride 1        inputs of a row    a b c d e f g h i       loaded once
//! for each kernel row  its weights        u v w                   loaded once
//!                      outputs            au+bv+cw  bu+cv+dw  ..  seven sums in registers
//! ```
//!
//! Kernel rows outside the map are skipped; columns outside hold a value that changes no result. A
//! sum is one lane of one register, added up in the order of the window's cells: its bits depend
//! neither on the tile nor on the lane.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::graph::{Sweep, Window};
use crate::kernel::call::job::Job;
use crate::kernel::call::threads::Parts;
use crate::kernel::memory::lanes::LANES;
use crate::kernel::simd::activate::limit;
use crate::kernel::simd::element::Element;
use crate::kernel::simd::vector;

/// Outputs per tile. In networks for pictures of 224 x 224 maps are 112, 56, 28, 14 and 7 wide:
/// whole tiles. For other widths the last tile overlaps the one before.
const TILE: usize = 7;

/// Outputs per tile if fewer are left, or the map is narrow.
const SMALL: usize = 4;

/// The most inputs per row that a tile reads, for the windows known at compile time.
const INPUTS: usize = (TILE - 1) * 2 + 5;

/// How the inputs of a window become one output.
pub(crate) trait Fold: Sync {
    /// What its weights are kept as, if it has any.
    type Weight: Element;

    /// The value of padding to the left and right.
    const PADDING: f32;

    /// Weights of a block of channels, cells x lanes; empty if the fold has no weights.
    #[inline(always)]
    fn weights(&self, _block: usize) -> &[Self::Weight] {
        &[]
    }

    /// The initial value of the outputs `at`.
    fn start<S: Simd>(&self, simd: S, at: At) -> S::f32s;

    /// Adds an input.
    fn fold<S: Simd>(simd: S, sum: S::f32s, input: S::f32s, weight: S::f32s) -> S::f32s;

    /// Turns a sum into the output in `column`, before the activation.
    #[inline(always)]
    fn finish<S: Simd>(&self, _simd: S, sum: S::f32s, _at: At, _column: usize) -> S::f32s {
        sum
    }
}

/// A line of outputs, one vector wide.
#[derive(Clone, Copy)]
pub(crate) struct At {
    /// Its block of channels, counted from the region's first.
    pub(crate) block: usize,
    /// Its first lane in the block.
    pub(crate) lane: usize,
    /// Its row, counted from the region's first.
    pub(crate) row: usize,
}

/// Slides a window over a region. Output and input have the same lanes, and channel c of the
/// output reads channel c of the input.
pub(crate) fn slide<F: Fold>(
    job: &Job<'_>,
    window: Window,
    fold: &F,
    input: &[f32],
    output: &mut [f32],
) {
    let output = Parts::new(output);
    let lanes = job.output.lanes;
    let blocks = job.region.channels.len().div_ceil(lanes) as usize;
    // The maps of the reference kernels have one lane.
    let arch = if lanes == LANES { job.arch } else { Arch::Scalar };
    job.share(blocks * job.region.rows.len() as usize, |units| {
        arch.dispatch(Slide { job, window, fold, units, input, output: &output });
    });
}

struct Slide<'a, F> {
    job: &'a Job<'a>,
    window: Window,
    fold: &'a F,
    /// Which lines of outputs, numbered over all blocks of the region.
    units: Range<usize>,
    input: &'a [f32],
    output: &'a Parts<'a>,
}

impl<F: Fold> WithSimd for Slide<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Window { rows, cols } = self.window;
        let plain = cols.dilation == 1 && S::F32_LANES > 1;
        match (rows.kernel, cols.kernel, cols.stride) {
            (2, 2, 2) if plain => self.lines::<S, 2, 2>(simd),
            (3, 3, 1) if plain => self.lines::<S, 3, 1>(simd),
            (3, 3, 2) if plain => self.lines::<S, 3, 2>(simd),
            (5, 5, 1) if plain => self.lines::<S, 5, 1>(simd),
            (5, 5, 2) if plain => self.lines::<S, 5, 2>(simd),
            _ => self.lines::<S, 0, 0>(simd),
        }
    }
}

/// What a line of outputs is computed from.
struct Line<'a, W> {
    at: At,
    /// The input, from the first row under the windows on.
    input: &'a [f32],
    /// Elements of an input row, and from one row of the window to the next.
    len: usize,
    pitch: usize,
    /// The kernel's rows that lie on the map.
    cells: Range<usize>,
    /// Of the block: cells x lanes.
    weights: &'a [W],
}

impl<F: Fold> Slide<'_, F> {
    /// All lines, for windows of `K` columns with stride `D`, or for any window if they are zero.
    #[inline(always)]
    fn lines<S: Simd, const K: usize, const D: usize>(&self, simd: S) {
        let (job, down) = (self.job, self.window.rows);
        let lanes = job.output.lanes as usize;
        let len = job.shape.width as usize * lanes;
        let rows = job.region.rows.len() as usize;
        for unit in self.units.clone() {
            let (block, row) = (unit / rows, unit % rows);
            let channel = job.region.channels.start + (block * lanes) as u32;
            let y = job.region.rows.start + row as u32;
            let top = i64::from(y) * i64::from(down.stride) - i64::from(down.pad_before);
            let cells = on_map(down, top, job.shape.rows);
            let input = match cells.is_empty() {
                true => &[],
                false => {
                    let first = top + cells.start as i64 * i64::from(down.dilation);
                    &self.input[job.input.line(channel, first as u32).start..]
                }
            };
            // SAFETY: no other task has this row of this block.
            let out = unsafe { self.output.part(job.output.line(channel, y)) };
            for lane in (0..lanes).step_by(S::F32_LANES) {
                let at = At { block, lane, row };
                let pitch = down.dilation as usize * len;
                let cells = cells.clone();
                let weights = self.fold.weights(block);
                let line = Line { at, input, len, pitch, cells, weights };
                self.line::<S, K, D>(simd, &line, out);
            }
            job.activation.apply_curve(simd, out);
        }
    }

    #[inline(always)]
    fn line<S: Simd, const K: usize, const D: usize>(
        &self,
        simd: S,
        line: &Line<'_, F::Weight>,
        out: &mut [f32],
    ) {
        let width = self.job.output.width as usize;
        let mut x = 0;
        while x < width {
            let left = width - x;
            x = if width >= TILE && left > SMALL {
                self.tile::<S, TILE, K, D>(simd, line, x.min(width - TILE), out)
            } else if width >= SMALL && left > 1 {
                self.tile::<S, SMALL, K, D>(simd, line, x.min(width - SMALL), out)
            } else {
                self.tile::<S, 1, K, D>(simd, line, x, out)
            };
        }
    }

    /// Computes the outputs from `x` on; returns where they end.
    #[inline(always)]
    fn tile<S: Simd, const P: usize, const K: usize, const D: usize>(
        &self,
        simd: S,
        line: &Line<'_, F::Weight>,
        x: usize,
        out: &mut [f32],
    ) -> usize {
        let across = self.window.cols;
        let left = x as i64 * i64::from(across.stride) - i64::from(across.pad_before);
        let right = left + ((P.max(1) - 1) * D + K) as i64;
        let sums = match K {
            0 => self.any_window::<S, P>(simd, line, left),
            _ if left >= 0 && right <= i64::from(self.job.shape.width) => {
                self.fixed_window::<S, P, K, D, false>(simd, line, left)
            }
            _ => self.fixed_window::<S, P, K, D, true>(simd, line, left),
        };
        let limits = self.job.activation.limits();
        let lanes = self.job.output.lanes as usize;
        let out = &mut out[x * lanes + line.at.lane..];
        let out = &mut out[..(P - 1) * lanes + S::F32_LANES];
        for (p, sum) in sums.into_iter().enumerate() {
            let sum = self.fold.finish(simd, sum, line.at, x + p);
            vector::store::<S>(&mut out[p * lanes..], limit(simd, sum, limits));
        }
        x + P
    }

    /// `P` sums of a window known at compile time; with `BORDER` some of its columns may be outside
    /// the map.
    #[inline(always)]
    fn fixed_window<S: Simd, const P: usize, const K: usize, const D: usize, const BORDER: bool>(
        &self,
        simd: S,
        line: &Line<'_, F::Weight>,
        left: i64,
    ) -> [S::f32s; P] {
        const L: usize = LANES as usize;
        let padding = simd.splat_f32s(F::PADDING);
        let mut sums = [self.fold.start(simd, line.at); P];
        let part = line.at.lane / S::F32_LANES;
        for (index, cell) in line.cells.clone().enumerate() {
            let row = &line.input[index * line.pitch..][..line.len];
            let mut inputs = [padding; INPUTS];
            if BORDER {
                // Short enough to be unrolled, so that the inputs stay in registers.
                let (pixels, _) = row.as_chunks::<L>();
                for (i, input) in inputs.iter_mut().enumerate().take((P - 1) * D + K) {
                    if let Some(pixel) = pixels.get((left + i as i64) as usize) {
                        *input = S::as_simd_f32s(pixel).0[part];
                    }
                }
            } else {
                let row = &row[left as usize * L + line.at.lane..];
                let row = &row[..((P - 1) * D + K - 1) * L + S::F32_LANES];
                for (i, input) in inputs.iter_mut().enumerate().take((P - 1) * D + K) {
                    *input = vector::load::<S>(&row[i * L..]);
                }
            }
            let mut weights = [padding; K];
            if !line.weights.is_empty() {
                let row = &line.weights[cell * K * L + line.at.lane..];
                let row = &row[..(K - 1) * L + S::F32_LANES];
                for (k, weight) in weights.iter_mut().enumerate() {
                    *weight = F::Weight::load(simd, &row[k * L..]);
                }
            }
            for p in 0..P {
                for k in 0..K {
                    sums[p] = F::fold(simd, sums[p], inputs[p * D + k], weights[k]);
                }
            }
        }
        sums
    }

    /// `P` sums of any window.
    #[inline(always)]
    fn any_window<S: Simd, const P: usize>(
        &self,
        simd: S,
        line: &Line<'_, F::Weight>,
        left: i64,
    ) -> [S::f32s; P] {
        let across = self.window.cols;
        let lanes = self.job.output.lanes as usize;
        let kernel = across.kernel as usize;
        let mut sums = [self.fold.start(simd, line.at); P];
        for (index, cell) in line.cells.clone().enumerate() {
            let row = &line.input[index * line.pitch..][..line.len];
            for k in 0..kernel {
                let weight = match line.weights {
                    [] => simd.splat_f32s(F::PADDING),
                    all => {
                        let from = (cell * kernel + k) * lanes + line.at.lane;
                        F::Weight::load(simd, &all[from..])
                    }
                };
                let first = left + k as i64 * i64::from(across.dilation);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let column = first + p as i64 * i64::from(across.stride);
                    if (0..i64::from(self.job.shape.width)).contains(&column) {
                        let input = &row[column as usize * lanes + line.at.lane..];
                        *sum = F::fold(simd, *sum, vector::load::<S>(input), weight);
                    }
                }
            }
        }
        sums
    }
}

/// Which cells of a window that starts at `first` lie on an axis of `len`.
fn on_map(sweep: Sweep, first: i64, len: u32) -> Range<usize> {
    let before = |end: i64| {
        let cells = (end - first).max(0) as u64;
        cells.div_ceil(u64::from(sweep.dilation)).min(u64::from(sweep.kernel)) as usize
    };
    before(0)..before(i64::from(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_beyond_the_map_are_left_out() {
        let sweep = Sweep { kernel: 3, dilation: 2, ..Sweep::point() };
        assert_eq!(on_map(sweep, 0, 9), 0..3);
        assert_eq!(on_map(sweep, -1, 9), 1..3);
        assert_eq!(on_map(sweep, -2, 2), 1..2);
        assert_eq!(on_map(sweep, 6, 9), 0..2);
        assert!(on_map(sweep, -5, 9).is_empty());
        assert!(on_map(sweep, 9, 9).is_empty());
    }
}
