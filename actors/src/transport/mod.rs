//! How devices talk: byte pipes, a handshake, then frames.
//!
//! A [`Transport`] only opens byte pipes: [`Tcp`] between machines, [`Memory`] within a process.
//! Everything above is shared: the handshake, frames (`frame`), queues, heartbeats, and what
//! happens when a link breaks. A test over [`Memory`] therefore runs the same code as a LAN.
//!
//! Where the cluster has a [`ClusterKey`], the handshake proves that both ends know it, and pipes are
//! encrypted (`sealed`) before frames travel. `Security` says who may take part without one.
//!
//! A `Network` owns one thread that runs all of a device's connections. Actors and compute
//! threads queue outgoing frames (`Sender::send` never blocks) and take incoming ones from a
//! `Receiver`, so a busy actor delays neither heartbeats nor reads. Every room that talks to
//! other devices uses this one; it never decodes the messages in the frames.

mod admission;
mod connection;
mod error;
mod frame;
mod handshake;
mod key;
mod link;
mod log_limit;
mod memory;
mod network;
mod pipe;
mod sealed;
mod security;
mod settings;
mod tcp;
#[cfg(test)]
mod tests;

pub(crate) use connection::{Connection, Receiver, Sender};
pub(crate) use error::TransportError;
pub use key::{ClusterKey, KeyError};
pub use memory::{Memory, Switchboard};
pub(crate) use network::{Listener, MAX_ADDRESSES, Network};
pub use pipe::{Accept, BoxFuture, Pipe, Transport};
pub(crate) use security::Security;
pub(crate) use settings::Settings;
pub use tcp::Tcp;
