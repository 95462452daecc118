//! The handshake: the first message on every connection, from both sides.

use serde::{Deserialize, Serialize};

use super::text::shown;
use crate::ids::{Incarnation, NodeId, SessionId};
use crate::kernel::Isa;

/// The protocol versions that this build speaks, oldest and newest.
pub const PROTOCOL: (u16, u16) = (9, 9);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// [`LeaderMessage`](super::LeaderMessage)s one way, [`WorkerMessage`](super::WorkerMessage)s
    /// the other.
    Control,
    /// Strips of one session, both ways.
    Strips(SessionId),
    /// Weights of one session: requests from a worker, chunks from the leader or another worker.
    Weights(SessionId),
    /// Payloads that are answered with the time on the other device's clock, as
    /// [`Ms`](crate::units::Ms), to measure goodput, round trips and how far clocks are apart.
    Probe,
}

/// Who is at this end of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest and newest protocol version spoken.
    pub protocol: (u16, u16),
    /// The version of the build, such as `0.1.0`; for messages.
    #[serde(deserialize_with = "shown")]
    pub build: String,
    /// Which device.
    pub node: NodeId,
    /// Which run of its process.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// Its name, for display.
    #[serde(deserialize_with = "shown")]
    pub name: String,
    /// The cluster it belongs to.
    #[serde(deserialize_with = "shown")]
    pub cluster: String,
    /// Its instruction set.
    pub isa: Isa,
    /// Threads that it computes with.
    pub threads: u16,
    /// Bytes that it may use.
    pub memory: u64,
    /// What the connection is for; the answering side repeats it.
    pub purpose: Purpose,
}

/// Why two devices cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// No protocol version in common.
    #[error(
        "{peer} runs edgeld {build}, which speaks protocol {}..={}; this build speaks {}..={}: install the same version on both",
        theirs.0, theirs.1, PROTOCOL.0, PROTOCOL.1
    )]
    Version {
        /// The peer's name.
        peer: String,
        /// Its build.
        build: String,
        /// Its versions.
        theirs: (u16, u16),
    },
    /// Another cluster.
    #[error(
        "{peer} belongs to cluster {theirs:?}, this is cluster {ours:?}: give both the same --cluster"
    )]
    Cluster {
        /// The peer's name.
        peer: String,
        /// Its cluster.
        theirs: String,
        /// Our cluster.
        ours: String,
    },
}

impl Hello {
    /// Whether `self` can work with `peer`.
    ///
    /// # Errors
    /// When protocol versions or cluster names do not match.
    pub fn accepts(&self, peer: &Hello) -> Result<(), HelloError> {
        if peer.protocol.0 > self.protocol.1 || peer.protocol.1 < self.protocol.0 {
            return Err(HelloError::Version {
                peer: peer.name.clone(),
                build: peer.build.clone(),
                theirs: peer.protocol,
            });
        }
        if peer.cluster != self.cluster {
            return Err(HelloError::Cluster {
                peer: peer.name.clone(),
                theirs: peer.cluster.clone(),
                ours: self.cluster.clone(),
            });
        }
        Ok(())
    }
}
