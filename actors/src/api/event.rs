//! Events of a cluster and of a worker.

use std::net::SocketAddr;
use std::sync::Arc;

use edgeld_runtime::plan::Generation;
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::NodeId;

use super::device::DeviceInfo;
use super::plan::PlanInfo;
use super::trace::TracePiece;

/// An event of a cluster.
#[derive(Debug, Clone)]
pub enum Event {
    /// The devices or their states changed.
    Cluster(Vec<DeviceInfo>),
    /// A new plan is active.
    Plan(Arc<PlanInfo>),
    /// A device is fetching weights.
    Weights {
        /// The device.
        device: NodeId,
        /// Its name.
        name: String,
        /// Bytes it already has.
        have: Bytes,
        /// Bytes it needs in total.
        need: Bytes,
    },
    /// A device finished its part of a frame.
    Finished {
        /// Which device.
        device: NodeId,
        /// Under which plan.
        generation: Generation,
        /// Which frame.
        frame: u64,
        /// How long it computed in all stages of the frame, pauses included.
        compute: Ms,
    },
    /// A piece of a trace, if the model was loaded with [`LoadOptions::trace`](crate::LoadOptions).
    Trace(Arc<TracePiece>),
    /// A problem that stops nothing, such as a refused peer.
    Warning(String),
}

/// An event of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEvent {
    /// It accepts connections.
    Listening {
        /// Its id.
        id: NodeId,
        /// Its name.
        name: String,
        /// Its address.
        address: SocketAddr,
        /// Its version.
        version: &'static str,
    },
    /// A leader opened a session.
    Session {
        /// The leader's name.
        leader: String,
    },
    /// A plan is ready to run here.
    Program {
        /// The plan's number.
        generation: Generation,
        /// Stages in which this device computes.
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
