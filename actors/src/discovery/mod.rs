//! Who else is there: sources of devices, each telling on one channel what it sees.
//!
//! [`Mdns`] finds the workers that announce themselves on this machine or this LAN; [`Peers`] keeps
//! trying addresses that were given, for networks that multicast does not cross. Both report a
//! device by its id, again only when something about it has changed, so that a receiver may take
//! every [`Sighting`] at face value.
//!
//! A sighting is a hint: who is really at an address is known when it has greeted
//! ([`Network::dial_any`](crate::transport::Network::dial_any)), and that it still lives by its
//! heartbeats. A device that dies without a goodbye stays announced for two minutes;
//! [`Mdns::verify`] asks after it at once.

pub mod actor;
mod mdns;
pub mod news;
mod peers;

use edgeld_runtime::wire::NodeId;

use crate::face::Found;
use crate::transport::TransportError;

pub use mdns::{Announcement, Mdns, MdnsError, SERVICE, Scope};
pub use peers::Peers;

/// Something that was seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Sighting {
    /// A device is there, or its name or addresses have changed.
    Found(Device),
    /// A device said goodbye, or its announcement has expired, or its connection has ended.
    Gone {
        /// Which.
        node: NodeId,
        /// By which source: it may still be there by another.
        found: Found,
    },
    /// An address that was given leads to no device, and why; it is tried again.
    Failed {
        /// The address, as given.
        peer: String,
        /// What went wrong.
        error: TransportError,
    },
}

/// A device that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Who it is, by its own account.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Where it may be reached, `host:port`, most promising first.
    pub addresses: Vec<String>,
    /// How it was found.
    pub found: Found,
    /// Oldest and newest protocol version that it speaks.
    pub protocol: (u16, u16),
    /// Its build.
    pub build: String,
}
