//! Windows that slide over one channel at a time: depthwise convolutions and pools.
//!
//! A vector is neighbouring outputs of one row. For a stride of s these read every s-th input,
//! so each input row is first laid out in s **phases**, padded on both sides:
//!
//! ```text
//! padded row           0 a b c d e f 0         kernel 3, stride 2, padding 1
//! phase 0              0 b d f                 column 0 of the kernel reads phase 0 from 0 on,
//! phase 1              a c e 0                 column 1 phase 1 from 0 on, 2 phase 0 from 1 on
//! ```
//!
//! After that every column of the kernel is a plain load, whatever stride, dilation and padding
//! are. Rows are laid out a few at a time and stay in the first-level cache.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::job::Job;
use super::threads::Parts;
use crate::graph::{Sweep, Window};
use crate::region::RowRange;

/// Lanes of the widest vectors: rows are laid out in multiples of it.
const LANES: usize = 16;

/// Elements of the rows that are laid out at once: half of a first-level cache.
const ROOM: usize = 4096;

/// Vectors of outputs that are computed side by side.
const WIDE: usize = 4;

/// How the inputs of a window become one output.
pub(super) trait Fold: Copy + Send + Sync + 'static {
    /// What it starts from; also what padding holds.
    const START: f32;

    /// Adds an input to what there is.
    fn fold<S: Simd>(simd: S, sum: S::f32s, input: S::f32s, weight: f32) -> S::f32s;
}

/// What a window makes of one channel.
pub(super) struct Channel<'a> {
    /// Input channel.
    pub(super) input: u32,
    /// Output channel.
    pub(super) output: u32,
    /// A weight per cell of the window, where the fold has weights.
    pub(super) weights: &'a [f32],
    /// Added to every output.
    pub(super) bias: f32,
}

/// Divisors of the outputs: the product of one per row and one per column.
pub(super) struct Divisors {
    /// For the rows of the job's region.
    pub(super) rows: Vec<f32>,
    /// For all columns.
    pub(super) columns: Vec<f32>,
}

/// Slides a window over channels.
pub(super) fn slide<F: Fold>(
    job: &Job<'_>,
    window: Window,
    channels: &[Channel<'_>],
    divisors: Option<&Divisors>,
    input: &[f32],
    output: &mut [f32],
) {
    let output = Parts::new(output);
    let phases = Phases::new(window.cols, job.shape.width, job.output.width);
    let extent = window.rows.extent() as usize;
    let stride = window.rows.stride as usize;
    let count = job.region.rows.len() as usize;
    let rows = (ROOM / phases.len()).saturating_sub(extent) / stride + 1;
    let strips = count.div_ceil(rows);
    let read = ((rows - 1) * stride + extent).min(job.shape.rows as usize);
    job.share(channels.len() * strips, |units| {
        job.scratch.lend(read * phases.len(), |room| {
            let slide = Slide {
                job,
                window,
                phases: &phases,
                channels,
                divisors,
                rows,
                strips,
                units,
                input,
                output: &output,
                room,
                fold: PhantomData::<F>,
            };
            pulp::Arch::new().dispatch(slide);
        });
    });
}

/// How input rows are laid out.
struct Phases {
    stride: usize,
    padding: usize,
    width: usize,
    /// Elements of a phase.
    pitch: usize,
    /// Where each column of the kernel reads its input for output 0.
    columns: Vec<usize>,
}

impl Phases {
    fn new(cols: Sweep, width: u32, outputs: u32) -> Phases {
        let stride = cols.stride as usize;
        let reach = (cols.extent() as usize - 1) / stride;
        let pitch = ((outputs as usize).next_multiple_of(LANES) + reach).next_multiple_of(LANES);
        let columns = (0..cols.kernel as usize)
            .map(|column| column * cols.dilation as usize)
            .map(|offset| offset % stride * pitch + offset / stride)
            .collect();
        let padding = cols.pad_before as usize;
        Phases { stride, padding, width: width as usize, pitch, columns }
    }

    /// Elements of a row that is laid out.
    fn len(&self) -> usize {
        self.stride * self.pitch
    }

    #[inline(always)]
    fn lay(&self, row: &[f32], padding: f32, out: &mut [f32]) {
        let stride = self.stride;
        for (phase, out) in out.chunks_exact_mut(self.pitch).enumerate() {
            let before = self.padding.saturating_sub(phase).div_ceil(stride).min(out.len());
            let start = (before * stride + phase).saturating_sub(self.padding).min(self.width);
            let inside = (self.width - start).div_ceil(stride).min(out.len() - before);
            out[..before].fill(padding);
            out[before + inside..].fill(padding);
            let out = &mut out[before..before + inside];
            let row = &row[start..];
            match stride {
                1 => out.copy_from_slice(&row[..inside]),
                2 => {
                    let (pairs, rest) = row.as_chunks::<2>();
                    out.iter_mut().zip(pairs).for_each(|(out, pair)| *out = pair[0]);
                    if let ([last], true) = (rest, inside > pairs.len()) {
                        out[pairs.len()] = *last;
                    }
                }
                _ => out.iter_mut().zip(row.iter().step_by(stride)).for_each(|(o, x)| *o = *x),
            }
        }
    }
}

struct Slide<'a, F> {
    job: &'a Job<'a>,
    window: Window,
    phases: &'a Phases,
    channels: &'a [Channel<'a>],
    divisors: Option<&'a Divisors>,
    /// Output rows of a strip, and strips of a channel.
    rows: usize,
    strips: usize,
    /// Which strips, counted over all channels.
    units: Range<usize>,
    input: &'a [f32],
    output: &'a Parts<'a>,
    /// Where input rows are laid out.
    room: &'a mut [f32],
    fold: PhantomData<F>,
}

impl<F: Fold> WithSimd for Slide<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut taps = Vec::new();
        for unit in self.units.clone() {
            let (channel, strip) = (&self.channels[unit / self.strips], unit % self.strips);
            let all = self.job.region.rows;
            let start = all.start + (strip * self.rows) as u32;
            let rows = RowRange::new(start, (start + self.rows as u32).min(all.end));
            self.strip(simd, channel, rows, &mut taps);
        }
    }
}

/// What an output reads through one cell of the window: where that lies for the row's first
/// output, and its weight.
type Tap = (usize, f32);

impl<F: Fold> Slide<'_, F> {
    #[inline(always)]
    fn strip<S: Simd>(
        &mut self,
        simd: S,
        channel: &Channel<'_>,
        rows: RowRange,
        taps: &mut Vec<Tap>,
    ) {
        let (height, pitch) = (self.job.shape.rows, self.phases.len());
        let needs = self.window.rows.reads(rows, height);
        for (row, out) in (needs.start..needs.end).zip(self.room.chunks_exact_mut(pitch)) {
            let line = self.job.input.line(channel.input, row);
            self.phases.lay(&self.input[line], F::START, out);
        }
        for row in rows.start..rows.end {
            self.taps(channel, row, needs, taps);
            let place = self.job.output.line(channel.output, row);
            // SAFETY: no other task has this row of this channel.
            let out = unsafe { self.output.part(place) };
            let divisor = self.divisors.map(|divisors| {
                let index = (row - self.job.region.rows.start) as usize;
                (divisors.rows[index], &*divisors.columns)
            });
            let mut x = 0;
            while x < out.len() {
                let wide = out.len() - x > (WIDE - 1) * S::F32_LANES;
                x += match wide {
                    true => self.vectors::<S, WIDE>(simd, taps, channel, divisor, x, out),
                    false => self.vectors::<S, 1>(simd, taps, channel, divisor, x, out),
                };
            }
        }
    }

    /// What the outputs of `row` read. Rows of padding hold nothing that counts: they are left
    /// out.
    #[inline(always)]
    fn taps(&self, channel: &Channel<'_>, row: u32, laid: RowRange, taps: &mut Vec<Tap>) {
        let down = self.window.rows;
        let columns = &self.phases.columns;
        taps.clear();
        for cell in 0..down.kernel {
            let line = i64::from(row) * i64::from(down.stride) - i64::from(down.pad_before)
                + i64::from(cell * down.dilation);
            if (0..i64::from(self.job.shape.rows)).contains(&line) {
                let start = (line - i64::from(laid.start)) as usize * self.phases.len();
                let weights = channel.weights.get(cell as usize * columns.len()..).unwrap_or(&[]);
                let weights = weights.iter().copied().chain(std::iter::repeat(0.0));
                taps.extend(columns.iter().zip(weights).map(|(x, weight)| (start + x, weight)));
            }
        }
    }

    /// `V` vectors of outputs from `x` on; returns how many outputs that is.
    #[allow(clippy::too_many_arguments)] // the innermost loop: everything in registers
    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(
        &self,
        simd: S,
        taps: &[Tap],
        channel: &Channel<'_>,
        divisor: Option<(f32, &[f32])>,
        x: usize,
        out: &mut [f32],
    ) -> usize {
        let mut sums = [simd.splat_f32s(F::START); V];
        for &(start, weight) in taps {
            let inputs = S::as_simd_f32s(&self.room[start + x..][..V * S::F32_LANES]).0;
            for v in 0..V {
                sums[v] = F::fold(simd, sums[v], inputs[v], weight);
            }
        }
        let (low, high) = self.job.activation.limits();
        let (low, high) = (simd.splat_f32s(low), simd.splat_f32s(high));
        for (v, sum) in sums.into_iter().enumerate() {
            let from = (x + v * S::F32_LANES).min(out.len());
            let to = (from + S::F32_LANES).min(out.len());
            let result = match divisor {
                None => simd.add_f32s(sum, simd.splat_f32s(channel.bias)),
                Some((row, columns)) => {
                    let columns = simd.partial_load_f32s(&columns[from..to]);
                    simd.div_f32s(sum, simd.mul_f32s(simd.splat_f32s(row), columns))
                }
            };
            let result = simd.min_f32s(high, simd.max_f32s(low, result));
            simd.partial_store_f32s(&mut out[from..to], result);
        }
        V * S::F32_LANES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_stride_two_has_two_phases() {
        let cols = Sweep { kernel: 3, stride: 2, pad_before: 1, pad_after: 1, ..Sweep::point() };
        let phases = Phases::new(cols, 6, 3);
        let mut out = vec![9.0; phases.len()];
        phases.lay(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.0, &mut out);
        assert_eq!(out[..5], [0.0, 2.0, 4.0, 6.0, 0.0]);
        assert_eq!(out[phases.pitch..phases.pitch + 4], [1.0, 3.0, 5.0, 0.0]);
        assert_eq!(phases.columns, [0, phases.pitch, 1]);
    }
}
