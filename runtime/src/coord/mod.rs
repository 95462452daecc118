//! Coordination, decided by pure state machines: `(state, now, event) -> commands`.
//!
//! Nothing here reads a clock, owns a socket or spawns a thread. An actor decodes a message, hands
//! it over as an event with the time, and performs the commands that come back. So a seeded
//! simulation (`tests/coord_sim.rs`) plays hundreds of clusters through joins, deaths and slow
//! devices in a second.
//!
//! - [`leader`]: which plan runs, which frame runs under which plan, what happens after a loss.
//! - [`worker`]: which sessions a device serves and whether their plans fit its memory.
//! - [`liveness`]: who is well, suspect, lost.
//! - [`replan`]: when a measured change is worth a new plan.
//! - [`stalls`]: how much of the time a device may run at all.
//! - [`emergency`]: a plan for now, from the weights that survivors already hold.

pub mod emergency;
pub mod leader;
pub mod liveness;
pub mod replan;
pub mod stalls;
pub mod worker;

use std::ops::Add;

use serde::Serialize;

use crate::units::Ms;

/// A moment on the caller's clock: milliseconds since a start of its choosing.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Moment(pub f64);

impl Moment {
    /// Time since an earlier moment; nothing if it is later.
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

/// Why there is a new plan. Where several reasons meet, the first in this order is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The first one.
    Start,
    /// A device died.
    Lost,
    /// A device said goodbye.
    Left,
    /// A link changed.
    Link,
    /// A device came.
    Joined,
    /// Weights arrived where they were missing.
    Weights,
    /// A device became slower.
    Slower,
    /// A device became faster.
    Faster,
}
