//! What the library tells its users: devices, plans, answers, events.
//!
//! Plain data, all of it serialisable, so that the command line, a dashboard or a test see the
//! same things.

use std::sync::Arc;

pub use edgeld_runtime::coord::Reason;
pub use edgeld_runtime::exec::Input;
use edgeld_runtime::plan::{DeviceIx, Generation, Plan};
use edgeld_runtime::units::{Bytes, Flops, Mbps, Ms};
use edgeld_runtime::wire::NodeId;
use serde::Serialize;

/// How a device was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// It is this device.
    #[serde(rename = "self")]
    Me,
    /// It announced itself over mDNS.
    Mdns,
    /// Its address was given.
    Peer,
}

/// What a device is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// Found; being measured or getting its weights.
    Joining,
    /// Has a share of the current plan.
    Active,
    /// Ready, without a share.
    Idle,
    /// Not heard of for a while.
    Suspect,
    /// Gone.
    Lost,
}

/// A device of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub id: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Where it is reached, `host:port`.
    pub address: String,
    /// Whether it is the leader.
    pub leader: bool,
    /// How it was found.
    pub found: Found,
    /// What it is doing.
    pub state: DeviceState,
    /// Measured convolution speed, 10^9 floating-point operations a second.
    pub gflops: Option<f64>,
    /// Measured goodput of its link.
    #[serde(rename = "goodput_mbps")]
    pub goodput: Option<Mbps>,
    /// Measured round trip to it.
    #[serde(rename = "rtt_ms")]
    pub rtt: Option<Ms>,
    /// What it may use.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
}

impl DeviceInfo {
    /// Whether `other` is the same but for figures that moved by less than a tenth: nothing that
    /// is worth telling again.
    pub fn is_much_like(&self, other: &DeviceInfo) -> bool {
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 0.1 * a.abs().max(b.abs()),
            (a, b) => a == b,
        };
        let with_its_figures = DeviceInfo {
            gflops: other.gflops,
            goodput: other.goodput,
            rtt: other.rtt,
            ..self.clone()
        };
        with_its_figures == *other
            && near(self.gflops, other.gflops)
            && near(self.goodput.map(|rate| rate.0), other.goodput.map(|rate| rate.0))
            && near(self.rtt.map(|time| time.0), other.rtt.map(|time| time.0))
    }
}

/// A stage of a plan, with what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageInfo {
    /// Names of its layers.
    pub layers: Vec<String>,
    /// `rows`, `features` or `whole`.
    pub split: &'static str,
    /// Who computes what; empty shares are left out.
    pub shares: Vec<ShareInfo>,
    /// Work that two devices both do.
    #[serde(rename = "redundant_gflop", serialize_with = "as_giga")]
    pub redundant: Flops,
    /// Payload that travels for this stage.
    pub bytes_in: Bytes,
}

/// A share of a stage: rows of its last layer, or features.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShareInfo {
    /// Whose: a device's id, or its name in `plan --lan`.
    pub device: String,
    /// First row or feature.
    pub from: u32,
    /// The one after the last.
    pub to: u32,
}

/// A plan and why it is as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanInfo {
    /// Its number.
    pub generation: Generation,
    /// Why it was made.
    pub reason: Reason,
    /// `bodp`, `ocbp` or `minmax`.
    pub partition: String,
    /// `layerwise` or `block`.
    pub fusion: String,
    /// `leader` or `peer`.
    pub exchange: String,
    /// Whether the answer is bit-identical to that of one device.
    pub exact: bool,
    /// Predicted time of one inference.
    #[serde(rename = "predicted_ms")]
    pub predicted: Ms,
    /// Predicted time of the leader alone; `None` where it cannot hold the model.
    #[serde(rename = "alone_ms")]
    pub alone: Option<Ms>,
    /// All stages.
    pub stages: Vec<StageInfo>,
    /// Why each device got what it got, in words.
    #[serde(skip)]
    pub explanation: Vec<String>,
    /// The plan itself.
    #[serde(skip)]
    pub plan: Plan,
    /// Its devices, in cluster order.
    #[serde(skip)]
    pub members: Vec<NodeId>,
}

/// One output of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The model's name for it.
    pub name: String,
    /// The model's own dimensions, batch included.
    pub dims: Vec<u64>,
    /// Its elements, in the model's order (row-major).
    pub data: Vec<f32>,
}

/// What came out of one inference, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Number of the frame within the session, from 0.
    pub frame: u64,
    /// The plan that answered it.
    pub generation: Generation,
    /// How often it was begun anew because of a loss.
    pub retries: u32,
    /// From input in memory to output in memory.
    pub total: Ms,
    /// Payload between all devices.
    pub bytes_moved: Bytes,
    /// All outputs of the model.
    pub outputs: Vec<Output>,
}

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

/// A device's place in a plan, by id.
pub fn position(members: &[NodeId], node: NodeId) -> Option<DeviceIx> {
    members.iter().position(|member| *member == node).map(|index| DeviceIx(index as u16))
}

fn as_text<S: serde::Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_giga<S: serde::Serializer>(flops: &Flops, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(flops.giga())
}
