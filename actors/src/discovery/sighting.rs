//! What the sources of devices report.

use edgeld_runtime::wire::NodeId;

use crate::api::Found;
use crate::transport::TransportError;

/// A report from a source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sighting {
    /// A device was found, or its name or addresses have changed.
    Found(SightedDevice),
    /// A device said goodbye, its announcement expired, or its connection ended.
    Gone {
        /// The device.
        node: NodeId,
        /// The source: another one may still see the device.
        found: Found,
    },
    /// A given address is reached.
    Answered {
        /// The address, as given.
        peer: String,
    },
    /// A given address cannot be reached or used. It will be retried.
    Failed {
        /// The address, as given.
        peer: String,
        /// What went wrong.
        error: TransportError,
    },
}

/// A device as a source sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SightedDevice {
    /// The id it claims.
    pub node: NodeId,
    /// Its human-readable name.
    pub name: String,
    /// Its addresses, `host:port`, most promising first.
    pub addresses: Vec<String>,
    /// How it was found.
    pub found: Found,
    /// Oldest and newest protocol version it speaks.
    pub protocol: (u16, u16),
    /// Its build.
    pub build: String,
}
