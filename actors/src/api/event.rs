//! What happens, as it happens: in a cluster, and on a worker.

use std::net::SocketAddr;
use std::sync::Arc;

use edgeld_runtime::plan::Generation;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::NodeId;

use super::device::DeviceInfo;
use super::plan::PlanInfo;

/// Something that happened in a cluster.
#[derive(Debug, Clone)]
pub enum Event {
    /// The devices, whenever they or their state changed.
    Cluster(Vec<DeviceInfo>),
    /// A new plan is active.
    Plan(Arc<PlanInfo>),
    /// A device is fetching weights.
    Weights {
        /// Which device.
        device: NodeId,
        /// Its name.
        name: String,
        /// What it has of those it needs.
        have: Bytes,
        /// What it needs.
        need: Bytes,
    },
    /// Something that people should know and that stops nothing: a peer that was refused, say.
    Warning(String),
}

/// What happened on a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEvent {
    /// It can be reached.
    Listening {
        /// Its id.
        id: NodeId,
        /// Its name.
        name: String,
        /// Where.
        address: SocketAddr,
        /// Its build.
        version: &'static str,
    },
    /// A leader began a session.
    Session {
        /// The leader's name.
        leader: String,
    },
    /// A plan is ready to run here.
    Program {
        /// Its number.
        generation: Generation,
        /// Stages in which this device has a share.
        stages: usize,
    },
    /// A session ended.
    SessionClosed {
        /// The leader's name.
        leader: String,
        /// Why.
        reason: String,
    },
}
