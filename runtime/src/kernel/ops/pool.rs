//! Pools: the maximum or mean of a window, channel by channel.

use std::ops::Range;

use pulp::Simd;

use super::slide::{At, Fold, slide};
use crate::graph::{Pool, Reduction, Sweep};
use crate::kernel::call::job::Job;

struct Largest;

/// Each divisor is the product of one per row and one per column.
struct Mean {
    /// For the rows of the job's region.
    rows: Vec<f32>,
    /// For all columns.
    columns: Vec<f32>,
}

impl Fold for Largest {
    type Weight = f32;

    const PADDING: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn start<S: Simd>(&self, simd: S, _: At) -> S::f32s {
        simd.splat_f32s(f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn fold<S: Simd>(simd: S, largest: S::f32s, input: S::f32s, _: S::f32s) -> S::f32s {
        simd.max_f32s(largest, input)
    }
}

impl Fold for Mean {
    type Weight = f32;

    const PADDING: f32 = 0.0;

    #[inline(always)]
    fn start<S: Simd>(&self, simd: S, _: At) -> S::f32s {
        simd.splat_f32s(0.0)
    }

    #[inline(always)]
    fn fold<S: Simd>(simd: S, sum: S::f32s, input: S::f32s, _: S::f32s) -> S::f32s {
        simd.add_f32s(sum, input)
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, sum: S::f32s, at: At, column: usize) -> S::f32s {
        simd.div_f32s(sum, simd.splat_f32s(self.rows[at.row] * self.columns[column]))
    }
}

/// Computes a region of a pool.
pub(crate) fn compute(job: &Job<'_>, pool: &Pool, input: &[f32], output: &mut [f32]) {
    match pool.reduction {
        Reduction::Max => slide(job, pool.window, &Largest, input, output),
        Reduction::Average { count_padding } => {
            let divisors = |sweep, len, outputs: Range<u32>| -> Vec<f32> {
                outputs.map(|output| counted(sweep, len, output, count_padding) as f32).collect()
            };
            let rows = job.region.rows;
            let mean = Mean {
                rows: divisors(pool.window.rows, job.shape.rows, rows.start..rows.end),
                columns: divisors(pool.window.cols, job.shape.width, 0..job.output.width),
            };
            slide(job, pool.window, &mean, input, output);
        }
    }
}

/// How many cells count along one axis of the window of `output`: those on the map and, if
/// `padding`, those on its padding, but never those beyond (in `ceil` mode). At least one, as it is
/// a divisor.
pub(crate) fn counted(sweep: Sweep, len: u32, output: u32, padding: bool) -> u64 {
    let (from, to) = match padding {
        true => (-i64::from(sweep.pad_before), i64::from(len) + i64::from(sweep.pad_after)),
        false => (0, i64::from(len)),
    };
    let first = i64::from(output) * i64::from(sweep.stride) - i64::from(sweep.pad_before);
    let cells = 0..i64::from(sweep.kernel);
    let inside = cells.filter(|cell| {
        let place = first + cell * i64::from(sweep.dilation);
        from <= place && place < to
    });
    (inside.count() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_beyond_the_padding_never_count() {
        let sweep = Sweep {
            kernel: 3,
            stride: 2,
            pad_before: 1,
            pad_after: 1,
            ceil: true,
            ..Sweep::point()
        };
        assert_eq!(sweep.outputs(6), Some(4));
        let all: Vec<u64> = (0..4).map(|output| counted(sweep, 6, output, true)).collect();
        assert_eq!(all, [3, 3, 3, 2]);
        let real: Vec<u64> = (0..4).map(|output| counted(sweep, 6, output, false)).collect();
        assert_eq!(real, [2, 3, 3, 1]);
    }
}
