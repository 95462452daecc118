//! When a measured change is worth a new plan, and what it is called.
//!
//! Every frame tells what each stage cost on each device, which corrects the devices' profiles
//! ([`DeviceProfile::observe`](crate::cost::DeviceProfile::observe)). [`Hysteresis`] keeps plans
//! from flapping: another plan must have been better by [`GAIN`] for [`FRAMES`] frames in a row,
//! and the present one must have run for [`HOLD`]. Losses and joins do not come this way; they are
//! planned for at once.
//!
//! ```
//! use edgeld_runtime::coord::Moment;
//! use edgeld_runtime::coord::replan::Hysteresis;
//! use edgeld_runtime::units::Ms;
//! let mut hysteresis = Hysteresis::new(Moment(0.0));
//! let mut after = |frame: u32, other| {
//!     hysteresis.consider(Moment(f64::from(frame) * 500.0), Ms(100.0), Ms(other))
//! };
//! assert!((1..=4).all(|frame| !after(frame, 80.0)));
//! assert!(after(5, 80.0));
//! ```

use super::{Moment, Reason};
use crate::units::Ms;

/// What another plan must gain, as a part of the present plan's time.
pub const GAIN: f64 = 0.10;

/// For how many frames in a row.
pub const FRAMES: u32 = 5;

/// How long a plan runs at least.
pub const HOLD: Ms = Ms(2_000.0);

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
