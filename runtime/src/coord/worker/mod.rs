//! A device that works for leaders: what it has promised them ([`Worker`]), the connections that their
//! plans need ([`session`]), and which strips it takes ([`Gate`]).

mod gate;
mod memory;
pub mod session;

pub use gate::{Arrival, Gate};
pub use memory::{Demand, OutOfMemory, Worker};
