//! From what devices report of a frame to spans on the leader's clock.
//!
//! A device reports when each step of its program ran, by its own clock. The leader knows what the
//! steps are ([`spans()`]) and how far that clock is from its own ([`ClockOffset`]).

mod clock;
mod spans;

pub use clock::{ClockOffset, ClockReading};
pub use spans::{Row, Span, Steps, TraceError, spans};
