//! Which devices are alive, suspect or lost, judged by when they were last heard.
//!
//! The judging device may itself have been stopped for a while (a suspended laptop, a debugger, a
//! quota). Every peer then looks silent, and none is to blame. A [`FailureDetector`] notices the gaps
//! between its own ticks and counts only the silence in which it was awake.
//!
//! ```
//! use edgeld_runtime::coord::Moment;
//! use edgeld_runtime::coord::liveness::{Liveness, FailureDetector};
//! let mut detector = FailureDetector::new(Moment(0.0));
//! let heard = Moment(100.0);
//! for now in (0..).step_by(100).map(|now| Moment(f64::from(now))).take(8) {
//!     detector.tick(now);
//! }
//! assert_eq!(detector.liveness(heard), Liveness::Suspect); // at 700: silent for 0.6 s
//! detector.tick(Moment(60_000.0)); // a minute asleep
//! assert_eq!(detector.liveness(heard), Liveness::Suspect); // 0.1 s more
//! ```

use std::collections::VecDeque;

use super::Moment;
use crate::units::Ms;

/// How often a device sends something, if only a heartbeat.
pub const HEARTBEAT: Ms = Ms(200.0);

/// Silence after which a device is suspect.
const SUSPECT_AFTER: Ms = Ms(500.0);

/// Silence after which a device is lost: noticed within a second, as it is looked for every
/// [`TICK`].
const LOST_AFTER: Ms = Ms(900.0);

/// How often to call [`FailureDetector::tick`].
pub const TICK: Ms = Ms(100.0);

/// A tick that comes this long after the one before: the device was asleep in between.
const ASLEEP: Ms = Ms(250.0);

/// How many gaps are remembered: more than there can be within [`LOST_AFTER`].
const REMEMBERED: usize = 16;

/// What a device's silence says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    /// Heard recently.
    Alive,
    /// Not heard for half a second.
    Suspect,
    /// Not heard for almost a second.
    Lost,
}

/// Judges peers by their silence, and notices when it was asleep itself.
#[derive(Debug, Clone)]
pub struct FailureDetector {
    now: Moment,
    /// When it was asleep, oldest first.
    gaps: VecDeque<(Moment, Moment)>,
}

impl FailureDetector {
    /// Starts at `now`.
    pub fn new(now: Moment) -> FailureDetector {
        FailureDetector { now, gaps: VecDeque::new() }
    }

    /// Call it every [`TICK`].
    pub fn tick(&mut self, now: Moment) {
        if now.since(self.now) > ASLEEP {
            if self.gaps.len() >= REMEMBERED {
                self.gaps.pop_front();
            }
            // The time until the tick was due counts: who stutters all the time notices, too.
            self.gaps.push_back((self.now + TICK, now));
        }
        self.now = now;
    }

    /// The state of a device that was last heard at `heard`, as of the last tick.
    pub fn liveness(&self, heard: Moment) -> Liveness {
        let asleep =
            self.gaps.iter().map(|(from, to)| to.since(if heard < *from { *from } else { heard }));
        let asleep = asleep.fold(Ms::ZERO, |sum, gap| sum + gap);
        match self.now.since(heard) - asleep {
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
    fn silence_makes_suspect_then_lost_within_a_second() {
        assert_eq!(detector_after(400).liveness(Moment(0.0)), Liveness::Alive);
        assert_eq!(detector_after(500).liveness(Moment(0.0)), Liveness::Suspect);
        assert_eq!(detector_after(900).liveness(Moment(0.0)), Liveness::Lost);
        assert_eq!(detector_after(900).liveness(Moment(450.0)), Liveness::Alive);
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
        assert_eq!(detector.liveness(Moment(11_900.0)), Liveness::Alive);
    }

    #[test]
    fn one_that_stutters_notices_too() {
        let mut detector = FailureDetector::new(Moment(0.0));
        let mut now = 0.0;
        for stutter in 0..10 {
            now += if stutter % 3 == 0 { 100.0 } else { 600.0 };
            detector.tick(Moment(now));
        }
        assert_eq!(detector.liveness(Moment(0.0)), Liveness::Lost);
    }
}
