//! Finds devices and detects lost ones.
//!
//! Two sources report to one channel: [`Mdns`] finds workers that announce themselves on this
//! machine or LAN; [`Peers`] keeps dialling given addresses, for networks without multicast. Both
//! report a device by its id, and again only when it changes. A `Sighting` is a hint: only a
//! handshake ([`Network::dial_any`](crate::transport::Network::dial_any)) proves who is at an
//! address.
//!
//! The [`DiscoveryActor`] keeps a control connection to every device sighted, detects lost ones
//! (`coord::liveness`) and notifies sessions. `cluster` starts it, and `pipeline` attaches sessions
//! to it. It never plans, and never sends a message about a session.

mod actor;
mod control;
mod mdns;
mod messages;
mod peers;
mod sighting;
#[cfg(test)]
mod tests;
mod tracked;

pub(crate) use actor::{DiscoveryActor, Sources};
pub(crate) use mdns::{Announcement, Mdns, Scope};
pub(crate) use messages::{
    AttachSession, DeviceEvent, FailedPeers, Peer, Publish, QueryFailures, Sighted, Subscribe,
};
pub(crate) use peers::Peers;
#[cfg(test)]
pub(crate) use sighting::{SightedDevice, Sighting};
