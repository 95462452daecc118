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

use super::activate::limit;
use super::job::Job;
use super::padded::copy_padded;
use super::threads::Parts;
use super::vector::{self, LANES};
use crate::graph::{Sweep, Window};
use crate::region::RowRange;

/// Elements of the rows that are laid out at once: half of a first-level cache.
const ROOM: usize = 4096;

/// Vectors of outputs that are computed side by side.
const WIDE: usize = 4;

/// How the inputs of a window become one output.
pub(super) trait Fold: Copy + Send + Sync + 'static {
    /// What it starts from; also what padding holds.
    const START: f32;

    /// Adds an input to what there is; `weights` are those of the kernel's row, `column` is the
    /// input's place in it.
    fn fold<S: Simd>(
        simd: S,
        sum: S::f32s,
        input: S::f32s,
        weights: &[f32],
        column: usize,
    ) -> S::f32s;

    /// Row `row` of a kernel of `width` columns; nothing where the fold has no weights.
    #[inline(always)]
    fn weights(_weights: &[f32], _row: usize, _width: usize) -> &[f32] {
        &[]
    }
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
    let phases = Phases::new(window.cols, job.output.width);
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
            job.arch.dispatch(slide);
        });
    });
}

/// How input rows are laid out.
struct Phases {
    stride: usize,
    padding: i64,
    /// The phases that the kernel reads: from which place on.
    starts: Vec<usize>,
    /// Elements of a phase.
    pitch: usize,
    /// Where each column of the kernel reads its input for output 0.
    columns: Vec<usize>,
}

impl Phases {
    fn new(cols: Sweep, outputs: u32) -> Phases {
        let stride = cols.stride as usize;
        let reach = (cols.extent() as usize - 1) / stride;
        let pitch = ((outputs as usize).next_multiple_of(LANES) + reach).next_multiple_of(LANES);
        let offsets = (0..cols.kernel as usize).map(|column| column * cols.dilation as usize);
        let mut starts: Vec<usize> = offsets.clone().map(|offset| offset % stride).collect();
        starts.sort_unstable();
        starts.dedup();
        let columns = offsets
            .map(|offset| {
                let phase = starts.partition_point(|start| *start < offset % stride);
                phase * pitch + offset / stride
            })
            .collect();
        Phases { stride, padding: i64::from(cols.pad_before), starts, pitch, columns }
    }

    /// Elements of a row that is laid out.
    fn len(&self) -> usize {
        self.starts.len() * self.pitch
    }

    #[inline(always)]
    fn lay(&self, row: &[f32], padding: f32, out: &mut [f32]) {
        for (start, out) in self.starts.iter().zip(out.chunks_exact_mut(self.pitch)) {
            copy_padded(row, *start as i64 - self.padding, self.stride, padding, out);
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
        for unit in self.units.clone() {
            let (channel, strip) = (&self.channels[unit / self.strips], unit % self.strips);
            let all = self.job.region.rows;
            let start = all.start + (strip * self.rows) as u32;
            let rows = RowRange::new(start, (start + self.rows as u32).min(all.end));
            self.strip(simd, channel, rows);
        }
    }
}

/// One row of outputs, and what it reads.
#[derive(Clone, Copy)]
struct Row<'a> {
    channel: &'a Channel<'a>,
    /// Input row under the kernel's first row, counted from the first that is laid out.
    top: i64,
    /// The kernel's rows that lie on the map. Padding holds nothing that counts: it is left out.
    cells: (usize, usize),
    /// Divisor of the row, and of each column.
    divisors: Option<(f32, &'a [f32])>,
}

impl<F: Fold> Slide<'_, F> {
    #[inline(always)]
    fn strip<S: Simd>(&mut self, simd: S, channel: &Channel<'_>, rows: RowRange) {
        let down = self.window.rows;
        let height = i64::from(self.job.shape.rows);
        let laid = down.reads(rows, self.job.shape.rows);
        let lines = self.room.chunks_exact_mut(self.phases.len());
        for (row, line) in (laid.start..laid.end).zip(lines) {
            let place = self.job.input.line(channel.input, row);
            self.phases.lay(&self.input[place], F::START, line);
        }
        let dilation = i64::from(down.dilation);
        for row in rows.start..rows.end {
            let top = i64::from(row) * i64::from(down.stride) - i64::from(down.pad_before);
            let cells_before = |end: i64| {
                let cells = (end - top).max(0) as u64;
                cells.div_ceil(dilation as u64).min(u64::from(down.kernel)) as usize
            };
            let divisors = self.divisors.map(|divisors| {
                let index = (row - self.job.region.rows.start) as usize;
                (divisors.rows[index], &*divisors.columns)
            });
            let cells = (cells_before(0), cells_before(height));
            let row_of = Row { channel, top: top - i64::from(laid.start), cells, divisors };
            let place = self.job.output.line(channel.output, row);
            // SAFETY: no other task has this row of this channel.
            let out = unsafe { self.output.part(place) };
            let mut x = 0;
            while x < out.len() {
                x += match out.len() - x > (WIDE - 1) * S::F32_LANES {
                    true => self.vectors::<S, WIDE>(simd, row_of, x, out),
                    false => self.vectors::<S, 1>(simd, row_of, x, out),
                };
            }
            self.job.activation.bend(simd, out);
        }
    }

    /// `V` vectors of outputs from `x` on; returns how many outputs that is.
    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(
        &self,
        simd: S,
        row: Row<'_>,
        x: usize,
        out: &mut [f32],
    ) -> usize {
        let columns = &*self.phases.columns;
        let mut sums = [simd.splat_f32s(F::START); V];
        for cell in row.cells.0..row.cells.1 {
            let line = row.top + cell as i64 * i64::from(self.window.rows.dilation);
            let line = &self.room[line as usize * self.phases.len()..][..self.phases.len()];
            let weights = F::weights(row.channel.weights, cell, columns.len());
            for (index, column) in columns.iter().enumerate() {
                let inputs = S::as_simd_f32s(&line[column + x..][..V * S::F32_LANES]).0;
                for v in 0..V {
                    sums[v] = F::fold(simd, sums[v], inputs[v], weights, index);
                }
            }
        }
        let limits = self.job.activation.limits();
        for (v, sum) in sums.into_iter().enumerate() {
            let from = (x + v * S::F32_LANES).min(out.len());
            let to = (from + S::F32_LANES).min(out.len());
            let result = match row.divisors {
                None => simd.add_f32s(sum, simd.splat_f32s(row.channel.bias)),
                Some((divisor, columns)) => {
                    let columns = vector::load(simd, &columns[from..to]);
                    simd.div_f32s(sum, simd.mul_f32s(simd.splat_f32s(divisor), columns))
                }
            };
            vector::store(simd, &mut out[from..to], limit(simd, result, limits));
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
        let phases = Phases::new(cols, 3);
        let mut out = vec![9.0; phases.len()];
        phases.lay(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.0, &mut out);
        assert_eq!(out[..5], [0.0, 2.0, 4.0, 6.0, 0.0]);
        assert_eq!(out[phases.pitch..phases.pitch + 4], [1.0, 3.0, 5.0, 0.0]);
        assert_eq!(phases.columns, [0, phases.pitch, 1]);
    }

    #[test]
    fn only_phases_that_are_read_are_laid_out() {
        let cols = Sweep { kernel: 2, stride: 4_000_000_000, ..Sweep::point() };
        let phases = Phases::new(cols, 1);
        assert_eq!((phases.len(), phases.columns), (2 * LANES, vec![0, LANES]));
    }
}
