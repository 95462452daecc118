//! How devices talk: pipes of bytes, a handshake, then frames.
//!
//! A [`Transport`] only opens pipes of bytes: [`Tcp`] between machines, [`Memory`] within a
//! process. All else is the same code over either: the greeting that tells an EdgeLD device from
//! anything else, frames ([`frame`]), queues, signs of life, and what happens when a link breaks.
//! So a test over [`Memory`] runs what the LAN runs.
//!
//! A [`Network`] owns one thread on which all of a device's connections live. Actors and compute
//! threads only put frames into a queue ([`Sender::send`] never waits) and take frames from one
//! ([`Receiver`]); a busy actor delays neither heartbeats nor reads, so that it never looks dead.

mod connection;
mod error;
mod frame;
mod handshake;
mod link;
mod memory;
mod network;
mod pipe;
mod settings;
mod tcp;
#[cfg(test)]
mod tests;

pub(crate) use connection::{Connection, Receiver, Sender};
pub(crate) use error::TransportError;
pub use memory::{Memory, Switchboard};
pub(crate) use network::{Listener, Network};
pub use pipe::{Accept, BoxFuture, Pipe, Transport};
pub(crate) use settings::Settings;
pub use tcp::Tcp;
pub(crate) use tcp::check_exposure;
