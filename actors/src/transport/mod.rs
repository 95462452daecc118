//! How devices talk: byte pipes, a handshake, then frames.
//!
//! A [`Transport`] only opens byte pipes: [`Tcp`] between machines, [`Memory`] within a process.
//! Everything above is shared: the handshake, frames (`frame`), queues, heartbeats, and what
//! happens when a link breaks. A test over [`Memory`] therefore runs the same code as a LAN.
//!
//! A `Network` owns one thread that runs all of a device's connections. Actors and compute
//! threads queue outgoing frames (`Sender::send` never blocks) and take incoming ones from a
//! `Receiver`, so a busy actor delays neither heartbeats nor reads. Every room that talks to
//! other devices uses this one; it never decodes the messages in the frames.

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
