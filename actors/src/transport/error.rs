//! Why connections fail.

use std::time::Duration;

use edgeld_runtime::wire::NodeId;

use super::frame::FrameError;

/// Why a connection could not be made, or why it ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    /// The address is in use, or this process may not listen there.
    #[error(
        "cannot listen on {address}: {error}; choose another --listen ADDR:PORT, or port 0 for any free one"
    )]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        error: String,
    },
    /// Listening beyond this machine without permission.
    #[error(
        "{address} is reachable from other machines, so anyone there could use this one; give the cluster a key with --key FILE (`edgeld key new FILE` makes one), pass --insecure if anyone may, or --listen 127.0.0.1:0 to stay local"
    )]
    Exposed {
        /// The address.
        address: String,
    },
    /// Connecting to another machine without permission.
    #[error(
        "{address} is another machine, and what is sent there could be read by anyone; give both the same --key FILE (`edgeld key new FILE` makes one), or pass --insecure if that is acceptable"
    )]
    Elsewhere {
        /// The address.
        address: String,
    },
    /// The network thread could not be started, or has ended.
    #[error("the network thread is not running: {0}")]
    Stopped(String),
    /// Nothing answers at the address.
    #[error(
        "cannot reach {address}: {error}; is `edgeld worker` running there, and is its port reachable?"
    )]
    Unreachable {
        /// The address.
        address: String,
        /// The system's error.
        error: String,
    },
    /// Something other than EdgeLD answers.
    #[error("{address} answered, but does not speak EdgeLD ({saw}); check host and port")]
    NotEdgeld {
        /// The address.
        address: String,
        /// What came instead of a handshake.
        saw: String,
    },
    /// An EdgeLD device that this one cannot work with, or the reverse.
    #[error("cannot work with {address}: {why}")]
    Refused {
        /// The address.
        address: String,
        /// Why, and what to do about it.
        why: String,
    },
    /// A different device than expected answers.
    #[error("{address} is now device {found}, not {expected}: the address was reassigned")]
    WrongNode {
        /// The address.
        address: String,
        /// The device that answered.
        found: NodeId,
        /// The device expected.
        expected: NodeId,
    },
    /// No answer or no progress for too long.
    #[error("{address}: {doing} took longer than {} ms; is the device overloaded, stopped or cut off?", after.as_millis())]
    Timeout {
        /// The address.
        address: String,
        /// What it was doing.
        doing: &'static str,
        /// The limit.
        after: Duration,
    },
    /// A peer that had not finished its handshake when others came.
    #[error("{address} was slow to say who it is, and others needed its place")]
    Crowded {
        /// The address.
        address: String,
    },
    /// Data that violates the protocol; it ends the connection.
    #[error("{address} violated the protocol: {error}")]
    Violation {
        /// The address.
        address: String,
        /// The violation.
        error: FrameError,
    },
    /// The connection has ended.
    #[error("the connection to {address} has ended: {why}")]
    Closed {
        /// The peer's address.
        address: String,
        /// Why.
        why: String,
    },
}

impl TransportError {
    /// What a failure to read from or write to a pipe means.
    pub(super) fn of_pipe(address: &str, error: &std::io::Error) -> TransportError {
        let address = address.to_owned();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<FrameError>()) {
            Some(error) => TransportError::Violation { address, error: *error },
            None => TransportError::Closed { address, why: error.to_string() },
        }
    }
}
