//! The one clock of a device. Decisions are told the time and never ask for it.

use std::time::Instant;

use edgeld_runtime::coord::Moment;
use edgeld_runtime::units::Ms;

/// Milliseconds since this device started; copies agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts at zero.
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Now.
    pub(crate) fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    /// A moment of the system's clock; one before the start counts as the start.
    pub(crate) fn at(&self, instant: Instant) -> Moment {
        Moment(Ms::from_duration(instant.saturating_duration_since(self.0)).0)
    }
}
