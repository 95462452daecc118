//! When a measured change is worth a new plan, and what it is called.
//!
//! Every frame tells what each stage cost on each device. [`Correction`] smooths the ratio of
//! measured to predicted time, per kind of layer; the planner multiplies its predictions by it.
//! [`Hysteresis`] then keeps plans from flapping: another plan must have been better by
//! [`GAIN`] for [`FRAMES`] frames in a row, and the present one must have run for [`HOLD`].
//! Losses and joins do not come this way; they are planned for at once.
//!
//! ```
//! use edgeld_runtime::coord::replan::Correction;
//! use edgeld_runtime::units::Ms;
//! let mut correction = Correction::<1>::default();
//! for _ in 0..20 {
//!     // Predicted 10 ms of kind 0 without correction, measured 30 ms: three times as slow.
//!     correction.observe([Ms(10.0)], Ms(30.0));
//! }
//! assert!((correction.ratio(0) - 3.0).abs() < 0.05);
//! ```

use super::{Moment, Reason};
use crate::units::Ms;

/// What another plan must gain, as a part of the present plan's time.
pub const GAIN: f64 = 0.10;

/// For how many frames in a row.
pub const FRAMES: u32 = 5;

/// How long a plan runs at least.
pub const HOLD: Ms = Ms(2_000.0);

/// Weight of the newest measurement.
const SMOOTHING: f64 = 0.3;

/// Bounds of a ratio: one wild measurement must not ruin a profile.
const RATIOS: (f64, f64) = (0.1, 50.0);

/// Measurements shorter than this say more of the clock than of the device.
const SHORTEST: Ms = Ms(0.05);

/// Smoothed ratios of measured to predicted time, one per kind of layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction<const KINDS: usize> {
    ratios: [f64; KINDS],
}

impl<const KINDS: usize> Default for Correction<KINDS> {
    fn default() -> Self {
        Correction { ratios: [1.0; KINDS] }
    }
}

impl<const KINDS: usize> Correction<KINDS> {
    /// The factor for predictions of a kind.
    pub fn ratio(&self, kind: usize) -> f64 {
        self.ratios[kind]
    }

    /// All factors.
    pub fn ratios(&self) -> [f64; KINDS] {
        self.ratios
    }

    /// Takes in a stage that was predicted, uncorrected, to spend so much on each kind, and took
    /// `measured`. Each kind learns in proportion to its part of the stage.
    pub fn observe(&mut self, predicted: [Ms; KINDS], measured: Ms) {
        let corrected: [f64; KINDS] =
            std::array::from_fn(|kind| predicted[kind].0 * self.ratios[kind]);
        let total: f64 = corrected.iter().sum();
        let usable = total.is_finite() && total > 0.0 && measured.0.is_finite();
        if !usable || Ms(total).max(measured) < SHORTEST {
            return;
        }
        let error = measured.0 / total;
        for (ratio, part) in self.ratios.iter_mut().zip(corrected) {
            let weight = SMOOTHING * part / total;
            let target = *ratio * error;
            *ratio = (*ratio + weight * (target - *ratio)).clamp(RATIOS.0, RATIOS.1);
        }
    }
}

/// Keeps plans from flapping.
#[derive(Debug, Clone, Copy)]
pub struct Hysteresis {
    since: Moment,
    better: u32,
}

impl Hysteresis {
    /// A plan became active.
    pub fn new(now: Moment) -> Hysteresis {
        Hysteresis { since: now, better: 0 }
    }

    /// After a frame: the present plan is predicted to take `present`, another one `other`.
    /// Whether it is time to change.
    pub fn consider(&mut self, now: Moment, present: Ms, other: Ms) -> bool {
        if other.0 <= present.0 * (1.0 - GAIN) {
            self.better += 1;
        } else {
            self.better = 0;
        }
        self.better >= FRAMES && now.since(self.since) >= HOLD
    }
}

/// What a change of speeds is called: how many times slower than when the plan was made each
/// device computes (below one: faster), and how many times slower its link is. The largest change
/// names it.
pub fn reason(
    slowdowns: impl IntoIterator<Item = f64>,
    links: impl IntoIterator<Item = f64>,
) -> Reason {
    let size = |factor: f64| factor.max(f64::MIN_POSITIVE).ln().abs();
    let named = |factors: &mut dyn Iterator<Item = f64>| {
        factors.fold(
            1.0,
            |largest: f64, factor| {
                if size(factor) > size(largest) { factor } else { largest }
            },
        )
    };
    let speed = named(&mut slowdowns.into_iter());
    let link = named(&mut links.into_iter());
    match () {
        () if size(link) > size(speed) => Reason::Link,
        () if speed >= 1.0 => Reason::Slower,
        () => Reason::Faster,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_learns_in_proportion_to_its_part() {
        let mut correction = Correction::<2>::default();
        for _ in 0..30 {
            correction.observe([Ms(9.0), Ms(1.0)], Ms(20.0));
        }
        assert!((9.0 * correction.ratio(0) + correction.ratio(1) - 20.0).abs() < 0.5);
        assert!(correction.ratio(0) > correction.ratio(1));
    }

    #[test]
    fn nonsense_is_ignored_and_ratios_are_bounded() {
        let mut correction = Correction::<1>::default();
        correction.observe([Ms(0.0)], Ms(5.0));
        correction.observe([Ms(f64::NAN)], Ms(5.0));
        correction.observe([Ms(5.0)], Ms(f64::INFINITY));
        assert_eq!(correction.ratio(0), 1.0);
        for _ in 0..100 {
            correction.observe([Ms(1.0)], Ms(1e9));
        }
        assert_eq!(correction.ratio(0), 50.0);
    }

    #[test]
    fn a_gain_must_be_real_and_lasting() {
        let mut hysteresis = Hysteresis::new(Moment(0.0));
        let at = |frame: u32| Moment(f64::from(frame) * 1_000.0);
        assert!((1..=4).all(|frame| !hysteresis.consider(at(frame), Ms(100.0), Ms(80.0))));
        assert!(!hysteresis.consider(at(5), Ms(100.0), Ms(95.0)));
        assert!((6..=9).all(|frame| !hysteresis.consider(at(frame), Ms(100.0), Ms(80.0))));
        assert!(hysteresis.consider(at(10), Ms(100.0), Ms(80.0)));
        let mut young = Hysteresis::new(Moment(0.0));
        assert!((1..20).all(|frame| {
            !young.consider(Moment(f64::from(frame) * 100.0), Ms(100.0), Ms(50.0))
        }));
    }

    #[test]
    fn the_largest_change_names_the_reason() {
        assert_eq!(reason([1.0, 3.0], [1.0]), Reason::Slower);
        assert_eq!(reason([0.2, 3.0], [1.0]), Reason::Faster);
        assert_eq!(reason([1.1], [4.0]), Reason::Link);
    }
}
