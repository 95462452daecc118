//! What the sources of devices tell.

use edgeld_runtime::wire::NodeId;

use crate::api::Found;
use crate::transport::TransportError;

/// Something that was seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sighting {
    /// A device is there, or its name or addresses have changed.
    Found(SightedDevice),
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
pub(crate) struct SightedDevice {
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
