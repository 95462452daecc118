//! The device's clock. Decision code takes the time as an argument and never reads it.

use std::time::Instant;

use edgeld_runtime::coord::Moment;
use edgeld_runtime::units::Ms;

/// Counts milliseconds since this device started; copies agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that starts at zero.
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The current time.
    pub(crate) fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    /// The time of `instant`; anything before the start counts as the start.
    pub(crate) fn at(&self, instant: Instant) -> Moment {
        Moment(Ms::from_duration(instant.saturating_duration_since(self.0)).0)
    }
}
