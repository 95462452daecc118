//! Pools: the largest or the mean of what a window looks at, channel by channel.

use pulp::Simd;

use super::job::Job;
use super::slide::{Channel, Divisors, Fold, slide};
use crate::graph::{Pool, Reduction, Sweep};

#[derive(Clone, Copy)]
struct Largest;

#[derive(Clone, Copy)]
struct Sum;

impl Fold for Largest {
    const START: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn fold<S: Simd>(simd: S, largest: S::f32s, input: S::f32s, _: &[f32], _: usize) -> S::f32s {
        simd.max_f32s(largest, input)
    }
}

impl Fold for Sum {
    const START: f32 = 0.0;

    #[inline(always)]
    fn fold<S: Simd>(simd: S, sum: S::f32s, input: S::f32s, _: &[f32], _: usize) -> S::f32s {
        simd.add_f32s(sum, input)
    }
}

/// Computes a region of a pool.
pub(super) fn compute(job: &Job<'_>, pool: &Pool, input: &[f32], output: &mut [f32]) {
    let channels: Vec<Channel<'_>> = (job.region.channels.start..job.region.channels.end)
        .map(|channel| Channel { input: channel, output: channel, weights: &[], bias: 0.0 })
        .collect();
    match pool.reduction {
        Reduction::Max => slide::<Largest>(job, pool.window, &channels, None, input, output),
        Reduction::Average { count_padding } => {
            let (down, across) = (pool.window.rows, pool.window.cols);
            let counted = |sweep, len, outputs: std::ops::Range<u32>| -> Vec<f32> {
                outputs.map(|output| counted(sweep, len, output, count_padding) as f32).collect()
            };
            let rows = job.region.rows;
            let divisors = Divisors {
                rows: counted(down, job.shape.rows, rows.start..rows.end),
                columns: counted(across, job.shape.width, 0..job.output.width),
            };
            slide::<Sum>(job, pool.window, &channels, Some(&divisors), input, output);
        }
    }
}

/// How many cells count along one axis of the window of `output`: those on the map, or also
/// those on its padding, but never those beyond (`ceil` mode). At least one, to divide by.
pub(super) fn counted(sweep: Sweep, len: u32, output: u32, padding: bool) -> u64 {
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
