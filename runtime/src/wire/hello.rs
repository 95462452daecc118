//! The first message on every connection, from both sides.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{NodeId, SessionId};

/// The protocol versions that this build speaks, oldest and newest.
pub const PROTOCOL: (u16, u16) = (1, 1);

/// The instruction set that a device's kernels use. Answers are bit-identical only between
/// devices of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isa {
    /// No vector instructions assumed.
    Plain,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512.
    Avx512,
    /// 64-bit Arm.
    Neon,
}

impl Isa {
    /// What this machine has.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                return Isa::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
            {
                return Isa::Avx2;
            }
            Isa::Plain
        }
        #[cfg(target_arch = "aarch64")]
        {
            Isa::Neon
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            Isa::Plain
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Plain => "plain",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        })
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// [`LeaderMessage`](super::LeaderMessage)s one way, [`WorkerMessage`](super::WorkerMessage)s
    /// the other.
    Control,
    /// Strips of one session, both ways.
    Strips(SessionId),
    /// Weights of one session: requests from the worker, chunks from the leader.
    Weights(SessionId),
    /// Payloads that are echoed as an empty answer: how goodput and round trips are measured.
    Probe,
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest and newest protocol version spoken.
    pub protocol: (u16, u16),
    /// The build, as `0.1.0`; for messages.
    pub build: String,
    /// Which device.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// The cluster it belongs to.
    pub cluster: String,
    /// Its instruction set.
    pub isa: Isa,
    /// Threads that it computes on.
    pub threads: u16,
    /// Bytes that it may use.
    pub memory: u64,
    /// What the connection is for; the answering side repeats it.
    pub purpose: Purpose,
}

/// Why a peer is not one to work with.
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
    /// When versions or cluster names do not meet.
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
