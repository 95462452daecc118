//! From work to time: non-negative least squares over measurements.
//!
//! The paper fits T = a F + b over floating-point operations. But a strip of a few rows also reads
//! all of a layer's weights, and a dense layer does little else, so here
//!
//! ```text
//! T = a F + b (activation bytes) + c (weight bytes) + d,   a, b, c, d >= 0
//! ```
//!
//! with the smallest sum of squared *relative* errors: what matters for a plan is the proportion of
//! its shares, and the samples span three orders of magnitude.

use serde::{Deserialize, Serialize};

use super::work::Work;
use crate::units::Ms;

const TERMS: usize = 4;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What was done.
    pub work: Work,
    /// How long it took.
    pub time: Ms,
}

/// The time of one kind of layer on one device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fit {
    /// Milliseconds per floating-point operation.
    pub(crate) per_flop: f64,
    /// Milliseconds per byte of activations read or written.
    pub(crate) per_activation_byte: f64,
    /// Milliseconds per byte of weights read.
    pub(crate) per_weight_byte: f64,
    /// Milliseconds of overhead per run, however small.
    pub(crate) per_run: f64,
}

impl Fit {
    /// Predicted time of `work`.
    pub(crate) fn time(&self, work: &Work) -> Ms {
        Ms(self.per_flop * work.flops
            + self.per_activation_byte * work.activation_bytes
            + self.per_weight_byte * work.weight_bytes
            + self.per_run)
    }

    /// The same fit, `factor` times as slow.
    #[must_use]
    pub(crate) fn scaled(self, factor: f64) -> Fit {
        Fit {
            per_flop: self.per_flop * factor,
            per_activation_byte: self.per_activation_byte * factor,
            per_weight_byte: self.per_weight_byte * factor,
            per_run: self.per_run * factor,
        }
    }

    /// Fits the samples; `None` if none has a positive time.
    ///
    /// At the optimum some set of terms is zero and the others are at their unconstrained optimum,
    /// so all sixteen sets are tried.
    pub(crate) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Option<Fit> {
        let rows: Vec<[f64; TERMS]> = samples
            .into_iter()
            .filter(|sample| sample.time.0.is_finite() && sample.time.0 > 0.0)
            .map(|sample| {
                let Work { flops, activation_bytes, weight_bytes, .. } = sample.work;
                [flops, activation_bytes, weight_bytes, 1.0].map(|term| term / sample.time.0)
            })
            .filter(|row| row.iter().all(|term| term.is_finite()))
            .collect();
        if rows.is_empty() {
            return None;
        }
        let scales: [f64; TERMS] =
            std::array::from_fn(|term| rows.iter().map(|row| row[term].abs()).fold(0.0, f64::max));
        let scaled: Vec<[f64; TERMS]> =
            rows.iter()
                .map(|row| {
                    std::array::from_fn(|term| {
                        if scales[term] > 0.0 { row[term] / scales[term] } else { 0.0 }
                    })
                })
                .collect();
        let best = (1u8..1 << TERMS)
            .filter_map(|set| least_squares(&scaled, set))
            .min_by(|a, b| residual(&scaled, a).total_cmp(&residual(&scaled, b)))?;
        let term = |index: usize| {
            if scales[index] > 0.0 { best[index] / scales[index] } else { 0.0 }
        };
        Some(Fit {
            per_flop: term(0),
            per_activation_byte: term(1),
            per_weight_byte: term(2),
            per_run: term(3),
        })
    }
}

/// How far `rows x solution` is from all ones.
fn residual(rows: &[[f64; TERMS]], solution: &[f64; TERMS]) -> f64 {
    rows.iter()
        .map(|row| {
            let predicted: f64 = row.iter().zip(solution).map(|(a, x)| a * x).sum();
            (predicted - 1.0).powi(2)
        })
        .sum()
}

/// The least-squares solution of `rows x = 1` over the terms in `set`, with the others zero; `None`
/// if it is undetermined or has a negative term.
fn least_squares(rows: &[[f64; TERMS]], set: u8) -> Option<[f64; TERMS]> {
    let terms: Vec<usize> = (0..TERMS).filter(|term| set & (1 << term) != 0).collect();
    let n = terms.len();
    // The normal equations, with one more column for the right-hand side.
    let mut matrix = [[0.0; TERMS + 1]; TERMS];
    for row in rows {
        for (i, a) in terms.iter().enumerate() {
            for (j, b) in terms.iter().enumerate() {
                matrix[i][j] += row[*a] * row[*b];
            }
            matrix[i][n] += row[*a];
        }
    }
    for pivot in 0..n {
        let best = (pivot..n)
            .max_by(|a, b| matrix[*a][pivot].abs().total_cmp(&matrix[*b][pivot].abs()))?;
        matrix.swap(pivot, best);
        if matrix[pivot][pivot].abs() < 1e-12 * rows.len() as f64 {
            return None;
        }
        let pivot_row = matrix[pivot];
        for row in &mut matrix[pivot + 1..n] {
            let factor = row[pivot] / pivot_row[pivot];
            for (entry, above) in row.iter_mut().zip(pivot_row) {
                *entry -= factor * above;
            }
        }
    }
    let mut solution = [0.0; TERMS];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| matrix[i][j] * solution[terms[j]]).sum();
        solution[terms[i]] = (matrix[i][n] - known) / matrix[i][i];
    }
    solution.iter().all(|term| *term >= 0.0).then_some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::LayerKind;
    use proptest::prelude::*;

    fn samples(fit: Fit, noise: &[f64]) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (index, noise) in noise.iter().enumerate() {
            let (rows, channels) =
                ([2.0, 7.0, 14.0, 56.0][index % 4], [16.0, 128.0][index / 4 % 2]);
            let work = Work {
                kind: LayerKind::Conv,
                flops: 2.0 * rows * 56.0 * 9.0 * channels * channels,
                activation_bytes: 4.0 * 56.0 * channels * (2.0 * rows + 2.0),
                weight_bytes: 36.0 * channels * channels,
            };
            samples.push(Sample { work, time: fit.time(&work) * *noise });
        }
        samples
    }

    proptest! {
        #[test]
        fn finds_the_line_that_made_the_samples(
            a in 0.0..1e-6f64, b in 0.0..1e-6f64, c in 0.0..1e-6f64, d in 0.0001..0.5f64,
        ) {
            let fit = Fit {
                per_flop: a, per_activation_byte: b, per_weight_byte: c, per_run: d,
            };
            let samples = samples(fit, &[1.0; 8]);
            let found = Fit::of(&samples).unwrap();
            for sample in &samples {
                let error = found.time(&sample.work) / sample.time - 1.0;
                prop_assert!(error.abs() < 1e-4, "{} for {}", found.time(&sample.work), sample.time);
            }
        }

        #[test]
        fn noise_gives_no_negative_terms(noise in prop::collection::vec(0.2..5.0f64, 1..12)) {
            let fit = Fit {
                per_flop: 1e-8, per_activation_byte: 1e-7, per_weight_byte: 0.0, per_run: 0.01,
            };
            let found = Fit::of(&samples(fit, &noise)).unwrap();
            let terms = [found.per_flop, found.per_activation_byte, found.per_weight_byte,
                found.per_run];
            prop_assert!(terms.iter().all(|term| *term >= 0.0 && term.is_finite()));
            prop_assert!(terms.iter().any(|term| *term > 0.0));
        }
    }

    #[test]
    fn nothing_to_fit_is_no_fit() {
        assert_eq!(Fit::of(&[]), None);
        let work = Work::nothing(LayerKind::Pool);
        assert_eq!(Fit::of(&[Sample { work, time: Ms(f64::NAN) }]), None);
    }
}
