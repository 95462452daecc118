//! Coordination, decided by pure state machines: `(state, now, event) -> commands`.
//!
//! Nothing here reads a clock, owns a socket or spawns a thread. An actor decodes a message, passes
//! it in as an event together with the time, and carries out the commands that come back. That
//! lets a seeded simulation (`tests/coord_sim/`) take hundreds of clusters through joins, deaths
//! and slow devices in a second.
//!
//! - [`leader`]: which plan runs, which frame runs under which plan, what happens after a loss.
//! - [`worker`]: which sessions a device serves and whether their plans fit its memory.
//! - [`liveness`]: which devices are alive, suspect or lost.
//! - [`replan`]: when a measured change is worth a new plan.
//! - [`stalls`]: what share of the time a device is allowed to run.
//! - [`holdings`]: which weights devices have, and when they are ready for a plan.
//! - [`emergency`]: stopgap plans, until devices are ready for the best one.

pub mod emergency;
pub mod holdings;
pub mod leader;
pub mod liveness;
pub mod replan;
pub mod stalls;
#[cfg(test)]
mod testing;
pub mod worker;

use std::ops::Add;

use serde::Serialize;

use crate::units::Ms;

/// A point in time on the caller's clock: milliseconds since an origin of its choosing.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Moment(pub f64);

impl Moment {
    /// Time since an earlier moment; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Ms {
        Ms((self.0 - earlier.0).max(0.0))
    }
}

impl Add<Ms> for Moment {
    type Output = Moment;
    fn add(self, time: Ms) -> Moment {
        Moment(self.0 + time.0)
    }
}

/// Why there is a new plan. If several reasons apply, the first in this order is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// It is the first.
    Start,
    /// A device died.
    Lost,
    /// A device left in an orderly way.
    Left,
    /// A link changed.
    Link,
    /// A device joined.
    Joined,
    /// Weights arrived where they were missing.
    Weights,
    /// A device became slower.
    Slower,
    /// A device became faster.
    Faster,
    /// Frames began to come one by one, or many at once.
    Load,
}

impl Reason {
    /// Whether devices may take their time to get ready: frames go on well enough meanwhile.
    pub fn is_patient(self) -> bool {
        matches!(self, Reason::Weights | Reason::Slower | Reason::Faster | Reason::Load)
    }
}
