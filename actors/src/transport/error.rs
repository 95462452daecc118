//! What can go wrong between devices.

use std::time::Duration;

use edgeld_runtime::wire::NodeId;

use super::frame::FrameError;

/// Why a connection could not be made, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    /// No network resources, or no right to use them.
    #[error(
        "cannot listen at {address}: {error}; give another --listen ADDR:PORT, or port 0 for any free one"
    )]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        error: String,
    },
    /// An address beyond this machine, without protection.
    #[error(
        "{address} can be reached from other machines, and anyone there could use this one: give --insecure if that is acceptable, or --listen 127.0.0.1:0 to stay on this machine"
    )]
    Exposed {
        /// The address.
        address: String,
    },
    /// The network thread could not be started, or has ended.
    #[error("the network thread is not running: {0}")]
    Stopped(String),
    /// Nobody answers there.
    #[error(
        "cannot reach {address}: {error}; is `edgeld worker` running there, and may its port be reached?"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What the system said.
        error: String,
    },
    /// Somebody answers there, but nobody of this project.
    #[error("{address} answered, but is no EdgeLD ({saw}): check host and port")]
    NotEdgeld {
        /// Where.
        address: String,
        /// What came instead of a handshake.
        saw: String,
    },
    /// A device of this project that will not work with this one, or this one not with it.
    #[error("{address} was refused: {why}")]
    Refused {
        /// Where.
        address: String,
        /// Why, with what to do about it.
        why: String,
    },
    /// Another device than the one that was looked for.
    #[error("{address} is device {found}, not {expected}: its address has gone to another device")]
    WrongNode {
        /// Where.
        address: String,
        /// Who answered.
        found: NodeId,
        /// Who was looked for.
        expected: NodeId,
    },
    /// No answer, or no progress, for too long.
    #[error("{address}: {doing} took longer than {} ms: is the device overloaded, stopped or cut off?", after.as_millis())]
    Timeout {
        /// Where.
        address: String,
        /// What was waited for.
        doing: &'static str,
        /// For how long.
        after: Duration,
    },
    /// Bytes that break the protocol; that ends the connection.
    #[error("{address} sent what no EdgeLD sends: {error}")]
    Violation {
        /// Who.
        address: String,
        /// What was wrong.
        error: FrameError,
    },
    /// The connection has ended.
    #[error("the connection to {address} has ended: {why}")]
    Closed {
        /// With whom.
        address: String,
        /// Why.
        why: String,
    },
}
