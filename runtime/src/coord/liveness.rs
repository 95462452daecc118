//! Who is well, suspect, lost: judged by the last byte that was heard.
//!
//! Whoever judges may itself have been stopped for a while (a suspended laptop, a debugger): then
//! every peer looks silent, and none is to blame. A [`Watch`] notices the gap between its own ticks
//! and counts silence from the moment it woke.
//!
//! ```
//! use edgeld_runtime::coord::Moment;
//! use edgeld_runtime::coord::liveness::{Life, Watch};
//! let mut watch = Watch::new(Moment(0.0));
//! let heard = Moment(100.0);
//! for now in (0..).step_by(100).map(|now| Moment(f64::from(now))).take(16) {
//!     watch.tick(now);
//! }
//! assert_eq!(watch.life(heard), Life::Suspect); // at 1500: silent for 1.4 s
//! watch.tick(Moment(60_000.0)); // a minute asleep
//! assert_eq!(watch.life(heard), Life::Well);
//! ```

use super::Moment;
use crate::units::Ms;

/// How often a device gives a sign of life.
pub const HEARTBEAT: Ms = Ms(200.0);

/// Silence after which a device is suspect.
pub const SUSPECT: Ms = Ms(1_000.0);

/// Silence after which a device is lost.
pub const LOST: Ms = Ms(2_000.0);

/// How often to judge.
pub const TICK: Ms = Ms(100.0);

/// What silence says of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// Heard lately.
    Well,
    /// Not heard for [`SUSPECT`].
    Suspect,
    /// Not heard for [`LOST`].
    Lost,
}

/// Judges peers, and knows when it was asleep itself.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    now: Moment,
    woke: Moment,
}

impl Watch {
    /// Starts to watch.
    pub fn new(now: Moment) -> Watch {
        Watch { now, woke: now }
    }

    /// To be called every [`TICK`].
    pub fn tick(&mut self, now: Moment) {
        if now.since(self.now) > SUSPECT * 0.5 {
            self.woke = now;
        }
        self.now = now;
    }

    /// What is to be thought of a device that was last heard at `heard`, as of the last tick.
    pub fn life(&self, heard: Moment) -> Life {
        let reference = if heard < self.woke { self.woke } else { heard };
        match self.now.since(reference) {
            silence if silence >= LOST => Life::Lost,
            silence if silence >= SUSPECT => Life::Suspect,
            _ => Life::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(until: u32) -> Watch {
        let mut watch = Watch::new(Moment(0.0));
        for now in (0..=until).step_by(100) {
            watch.tick(Moment(f64::from(now)));
        }
        watch
    }

    #[test]
    fn silence_makes_suspect_then_lost() {
        assert_eq!(watched(900).life(Moment(0.0)), Life::Well);
        assert_eq!(watched(1_000).life(Moment(0.0)), Life::Suspect);
        assert_eq!(watched(2_000).life(Moment(0.0)), Life::Lost);
        assert_eq!(watched(2_000).life(Moment(1_500.0)), Life::Well);
    }

    #[test]
    fn whoever_slept_blames_nobody_and_judges_again_later() {
        let mut watch = watched(500);
        watch.tick(Moment(10_000.0));
        assert_eq!(watch.life(Moment(400.0)), Life::Well);
        for now in (10_100..=12_000).step_by(100) {
            watch.tick(Moment(f64::from(now)));
        }
        assert_eq!(watch.life(Moment(400.0)), Life::Lost);
    }
}
