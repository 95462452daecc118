//! Who is there, and who still lives.
//!
//! Two sources tell what they see on one channel: [`Mdns`] finds the workers that announce
//! themselves on this machine or LAN; [`Peers`] keeps trying addresses that were given, for networks
//! that multicast does not cross. Both report a device by its id, and again only when something
//! about it has changed. A [`Sighting`] is a hint: who is really at an address is known once it has
//! shaken hands ([`Network::dial_any`](crate::transport::Network::dial_any)).
//!
//! The [`DiscoveryActor`] keeps a control connection to every device seen, judges by what it hears
//! who lives (`coord::liveness`), and tells the sessions. `cluster` starts it and `pipeline`
//! subscribes to it. It never plans, and never speaks of a session to a device.

mod actor;
mod control;
mod mdns;
mod messages;
mod peers;
mod sighting;
#[cfg(test)]
mod tests;

pub(crate) use actor::{DiscoveryActor, Sources};
pub(crate) use mdns::{Announcement, Mdns, Scope};
pub(crate) use messages::{
    AttachSession, DeviceEvent, FailedPeers, Peer, Publish, QueryFailures, Sighted, Subscribe,
};
pub(crate) use peers::Peers;
