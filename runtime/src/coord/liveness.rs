//! Which devices are alive, suspect or lost, judged by when they were last heard.
//!
//! The judging device may itself have been stopped for a while (a suspended laptop, a debugger).
//! Every peer then looks silent, and none is to blame. A [`FailureDetector`] notices the gap
//! between its own ticks and counts silence from the moment it woke.
//!
//! ```
//! use edgeld_runtime::coord::Moment;
//! use edgeld_runtime::coord::liveness::{Liveness, FailureDetector};
//! let mut detector = FailureDetector::new(Moment(0.0));
//! let heard = Moment(100.0);
//! for now in (0..).step_by(100).map(|now| Moment(f64::from(now))).take(16) {
//!     detector.tick(now);
//! }
//! assert_eq!(detector.liveness(heard), Liveness::Suspect); // at 1500: silent for 1.4 s
//! detector.tick(Moment(60_000.0)); // a minute asleep
//! assert_eq!(detector.liveness(heard), Liveness::Alive);
//! ```

use super::Moment;
use crate::units::Ms;

/// How often a device sends something, if only a heartbeat.
pub const HEARTBEAT: Ms = Ms(200.0);

/// Silence after which a device is suspect.
const SUSPECT_AFTER: Ms = Ms(1_000.0);

/// Silence after which a device is lost.
const LOST_AFTER: Ms = Ms(2_000.0);

/// How often to call [`FailureDetector::tick`].
pub const TICK: Ms = Ms(100.0);

/// What a device's silence says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    /// Heard recently.
    Alive,
    /// Not heard for a second.
    Suspect,
    /// Not heard for two seconds.
    Lost,
}

/// Judges peers by their silence, and notices when it was asleep itself.
#[derive(Debug, Clone, Copy)]
pub struct FailureDetector {
    now: Moment,
    woke: Moment,
}

impl FailureDetector {
    /// Starts at `now`.
    pub fn new(now: Moment) -> FailureDetector {
        FailureDetector { now, woke: now }
    }

    /// Call it every [`TICK`].
    pub fn tick(&mut self, now: Moment) {
        if now.since(self.now) > SUSPECT_AFTER * 0.5 {
            self.woke = now;
        }
        self.now = now;
    }

    /// The state of a device that was last heard at `heard`, as of the last tick.
    pub fn liveness(&self, heard: Moment) -> Liveness {
        let reference = if heard < self.woke { self.woke } else { heard };
        match self.now.since(reference) {
            silence if silence >= LOST_AFTER => Liveness::Lost,
            silence if silence >= SUSPECT_AFTER => Liveness::Suspect,
            _ => Liveness::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detector_after(until: u32) -> FailureDetector {
        let mut detector = FailureDetector::new(Moment(0.0));
        for now in (0..=until).step_by(100) {
            detector.tick(Moment(f64::from(now)));
        }
        detector
    }

    #[test]
    fn silence_makes_suspect_then_lost() {
        assert_eq!(detector_after(900).liveness(Moment(0.0)), Liveness::Alive);
        assert_eq!(detector_after(1_000).liveness(Moment(0.0)), Liveness::Suspect);
        assert_eq!(detector_after(2_000).liveness(Moment(0.0)), Liveness::Lost);
        assert_eq!(detector_after(2_000).liveness(Moment(1_500.0)), Liveness::Alive);
    }

    #[test]
    fn after_sleeping_it_blames_nobody_at_first() {
        let mut detector = detector_after(500);
        detector.tick(Moment(10_000.0));
        assert_eq!(detector.liveness(Moment(400.0)), Liveness::Alive);
        for now in (10_100..=12_000).step_by(100) {
            detector.tick(Moment(f64::from(now)));
        }
        assert_eq!(detector.liveness(Moment(400.0)), Liveness::Lost);
    }
}
