//! Smoothing of measurements: noise is averaged, one outlier is ignored, a lasting change is believed.
//!
//! A measurement near the average moves it by three tenths of the difference. One that is far off is
//! held back: if the next is far off on the same side, both are believed at once, and the average is
//! theirs; otherwise it is forgotten.
//!
//! ```text
//! measured   1.0  1.1  5.0  1.0  2.0  2.2  2.1
//! average    1.0  1.03 1.03 1.02 1.02 2.1  2.1
//! ```
//!
//! It is an arithmetic mean, so that where measurements fluctuate, sums of what is predicted agree
//! with sums of what is measured.

use serde::{Deserialize, Serialize};

/// How far a measurement that is near moves the average.
const FRACTION: f64 = 0.3;

/// Up to this factor in either direction a measurement is near: noise of 15 % on both sides is, half
/// and twice the speed are not.
const NEAR: f64 = 1.5;

/// A moving average of positive measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Smoothed {
    value: f64,
    /// The last measurement, if it was far off.
    doubtful: Option<f64>,
}

impl Smoothed {
    /// Starts at `value`.
    pub(crate) const fn new(value: f64) -> Smoothed {
        Smoothed { value, doubtful: None }
    }

    /// Its current value.
    pub(crate) const fn value(&self) -> f64 {
        self.value
    }

    /// Learns from `sample`, weighted by `part` (0 to 1): how much of the sample is about this
    /// average. Non-finite samples are ignored.
    pub(crate) fn observe(&mut self, sample: f64, part: f64) {
        if !sample.is_finite() || !part.is_finite() {
            return;
        }
        let doubtful = self.doubtful.take();
        let (target, fraction) = match (self.is_far(sample), doubtful) {
            (false, _) => (sample, FRACTION),
            (true, Some(last)) if (last > self.value) == (sample > self.value) => {
                ((last + sample) / 2.0, 1.0)
            }
            (true, _) => {
                self.doubtful = Some(sample);
                return;
            }
        };
        self.value += (target - self.value) * fraction * part.clamp(0.0, 1.0);
    }

    /// Whether the last measurement was far off, so that the next one decides.
    pub(crate) const fn is_doubtful(&self) -> bool {
        self.doubtful.is_some()
    }

    fn is_far(&self, sample: f64) -> bool {
        sample > self.value * NEAR || sample < self.value / NEAR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: &[f64]) -> f64 {
        let mut average = Smoothed::new(1.0);
        for sample in samples {
            average.observe(*sample, 1.0);
        }
        average.value()
    }

    #[test]
    fn what_is_near_moves_it_a_part_of_the_way() {
        let mut average = Smoothed::new(1.0);
        average.observe(1.2, 1.0);
        assert!((average.value() - 1.06).abs() < 1e-9);
        average.observe(1.26, 0.5);
        assert!((average.value() - 1.09).abs() < 1e-9);
        average.observe(f64::NAN, 1.0);
        assert!((average.value() - 1.09).abs() < 1e-9);
    }

    #[test]
    fn outliers_do_not_move_it() {
        assert_eq!(after(&[10.0, 1.0, 0.1, 1.0, 1e9, 0.0, 1.0]), 1.0);
    }

    #[test]
    fn a_lasting_change_is_believed_the_second_time() {
        assert_eq!(after(&[2.2]), 1.0);
        assert_eq!(after(&[2.2, 1.8]), 2.0);
        assert_eq!(after(&[0.2, 0.3]), 0.25);
        // One on each side is no change.
        assert_eq!(after(&[2.0, 0.5, 2.0, 0.5]), 1.0);
    }
}
