//! Dense layers: dot products of weight rows and the input.
//!
//! With one input at a time a dense layer reads each weight once, so it is as fast as memory
//! gives them: rows are read as they are stored, four side by side to keep several streams going.

use pulp::{Simd, WithSimd};

use super::activate::activate;
use super::job::Job;
use super::threads::Parts;
use super::vector;
use super::weights::Weights;
use crate::region::ChannelRange;

/// Rows that are multiplied at once.
const ROWS: usize = 4;

/// Sums of one row that do not wait for each other.
const CHAINS: usize = 2;

/// Computes features of a dense layer from the whole input.
pub(super) fn compute(job: &Job<'_>, weights: &Weights, input: &[f32], output: &mut [f32]) {
    let features = job.region.channels;
    let output = Parts::new(output);
    job.share((features.len() as usize).div_ceil(ROWS), |groups| {
        let at = |group: usize| (features.start + (group * ROWS) as u32).min(features.end);
        let features = ChannelRange::new(at(groups.start), at(groups.end));
        job.arch.dispatch(Dots { job, weights, features, input, output: &output });
    });
}

struct Dots<'a> {
    job: &'a Job<'a>,
    weights: &'a Weights,
    features: ChannelRange,
    input: &'a [f32],
    output: &'a Parts<'a>,
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut rows = self.weights.rows(self.features);
        loop {
            let group: [_; ROWS] = std::array::from_fn(|_| rows.next());
            match group {
                [Some(a), Some(b), Some(c), Some(d)] => {
                    let sums = dots(simd, [a.1, b.1, c.1, d.1], self.input);
                    [a, b, c, d]
                        .into_iter()
                        .zip(sums)
                        .for_each(|(row, sum)| self.store(simd, row, sum));
                }
                rest => {
                    for row in rest.into_iter().flatten() {
                        let [sum] = dots(simd, [row.1], self.input);
                        self.store(simd, row, sum);
                    }
                    return;
                }
            }
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn store<S: Simd>(&self, simd: S, (feature, _, bias): (u32, &[f32], f32), sum: f32) {
        let place = self.job.output.line(feature, 0);
        // SAFETY: no other task has this feature.
        let out = unsafe { self.output.part(place) };
        let result = activate(simd, simd.splat_f32s(sum + bias), self.job.activation);
        vector::store(simd, &mut out[..1], result);
    }
}

/// The dot products of some rows with `input`; each row's is the same however many there are.
#[inline(always)]
fn dots<S: Simd, const R: usize>(simd: S, rows: [&[f32]; R], input: &[f32]) -> [f32; R] {
    let (input, input_rest) = S::as_simd_f32s(input);
    let parts = rows.map(|row| S::as_simd_f32s(row));
    let mut sums = [[simd.splat_f32s(0.0); CHAINS]; R];
    let (chunks, last) = pulp::as_arrays::<CHAINS, _>(input);
    for (index, chunk) in chunks.iter().enumerate() {
        for r in 0..R {
            let weights = &parts[r].0[index * CHAINS..][..CHAINS];
            for i in 0..CHAINS {
                sums[r][i] = simd.mul_add_e_f32s(weights[i], chunk[i], sums[r][i]);
            }
        }
    }
    for r in 0..R {
        let (weights, weights_rest) = parts[r];
        for (weights, input) in weights[chunks.len() * CHAINS..].iter().zip(last) {
            sums[r][0] = simd.mul_add_e_f32s(*weights, *input, sums[r][0]);
        }
        let rest = (vector::load(simd, weights_rest), vector::load(simd, input_rest));
        sums[r][1] = simd.mul_add_e_f32s(rest.0, rest.1, sums[r][1]);
    }
    let mut products = [0.0; R];
    for r in 0..R {
        products[r] = simd.reduce_sum_f32s(simd.add_f32s(sums[r][0], sums[r][1]));
    }
    products
}
