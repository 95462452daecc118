//! How many frames a plan carries at once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many frames a plan carries at once, all its devices together: 1 to 64.
///
/// Every device reserves memory for that many when it prepares the plan. More than a few gain
/// nothing once no device waits for another, and each adds to the time from input to answer.
///
/// ```
/// use edgeld_runtime::plan::InFlight;
/// assert_eq!("3".parse(), Ok(InFlight::of(3)));
/// assert!("0".parse::<InFlight>().is_err() && "65".parse::<InFlight>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct InFlight(u32);

/// Not a number of frames that a plan may carry at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a whole number from 1 to {} is needed", InFlight::MAX.0)]
pub struct NotInFlight;

impl InFlight {
    /// One frame after the other.
    pub const ONE: InFlight = InFlight(1);

    /// The most.
    pub const MAX: InFlight = InFlight(64);

    /// As many as `frames`, or the nearest number that is allowed.
    pub fn of(frames: usize) -> InFlight {
        InFlight(u32::try_from(frames).unwrap_or(u32::MAX).clamp(InFlight::ONE.0, InFlight::MAX.0))
    }

    /// The number of frames.
    pub const fn frames(self) -> u32 {
        self.0
    }
}

impl Default for InFlight {
    fn default() -> InFlight {
        InFlight::ONE
    }
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u32> for InFlight {
    type Error = NotInFlight;

    fn try_from(frames: u32) -> Result<InFlight, NotInFlight> {
        let in_flight = InFlight(frames);
        let allowed = InFlight::ONE..=InFlight::MAX;
        if allowed.contains(&in_flight) { Ok(in_flight) } else { Err(NotInFlight) }
    }
}

impl From<InFlight> for u32 {
    fn from(in_flight: InFlight) -> u32 {
        in_flight.0
    }
}

impl FromStr for InFlight {
    type Err = NotInFlight;

    fn from_str(text: &str) -> Result<InFlight, NotInFlight> {
        text.parse::<u32>().map_err(|_| NotInFlight)?.try_into()
    }
}
