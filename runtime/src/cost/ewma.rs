//! Smoothing of measurements.

use serde::{Deserialize, Serialize};

/// An exponentially weighted moving average: every observation moves it a fixed fraction of the
/// way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ewma {
    value: f64,
    fraction: f64,
}

impl Ewma {
    /// Starts at `value`; an observation moves it `fraction` (0 to 1) of the way.
    pub(crate) const fn new(value: f64, fraction: f64) -> Ewma {
        Ewma { value, fraction }
    }

    /// Its current value.
    pub(crate) const fn value(&self) -> f64 {
        self.value
    }

    /// Moves towards `sample`, weighted by `part` (0 to 1): how much of the sample is about this
    /// average. Non-finite samples are ignored.
    pub(crate) fn observe(&mut self, sample: f64, part: f64) {
        if sample.is_finite() && part.is_finite() {
            self.value += (sample - self.value) * self.fraction * part.clamp(0.0, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approaches_what_it_sees() {
        let mut average = Ewma::new(1.0, 0.5);
        average.observe(3.0, 1.0);
        assert_eq!(average.value(), 2.0);
        average.observe(4.0, 0.5);
        assert_eq!(average.value(), 2.5);
        average.observe(f64::NAN, 1.0);
        assert_eq!(average.value(), 2.5);
    }
}
