//! Control messages. Messages to a worker are commands, those from it are events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::shown;
use crate::cost::MessageCost;
use crate::graph::{DType, LayerId};
use crate::ids::{Incarnation, NodeId, SessionId};
use crate::kernel::KernelKind;
use crate::plan::{DeviceIx, Generation, InFlight, Plan};
use crate::program::{Encoding, TransferId};
use crate::region::Region;
use crate::units::{Bytes, Ms};

/// A device of a plan, as its peers need to know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its position in the plan.
    pub device: DeviceIx,
    /// Who it is.
    pub node: NodeId,
    /// Which run of its process: a connection to an earlier one leads nowhere.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// Its name, for messages.
    #[serde(deserialize_with = "shown")]
    pub name: String,
    /// Where to reach it, as `host:port`, most promising first. Empty for the leader, which dials
    /// all others itself.
    pub addresses: Vec<String>,
}

/// Get ready to run a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepare {
    /// Which plan.
    pub generation: Generation,
    /// The plan; every device derives its program from it.
    pub plan: Plan,
    /// Which of its devices the receiver is.
    pub device: DeviceIx,
    /// All devices of the plan, in cluster order.
    pub members: Vec<Member>,
    /// How many frames it carries at once; one, if an older leader does not say.
    #[serde(default)]
    pub in_flight: InFlight,
    /// How soon it is needed.
    #[serde(default)]
    pub urgency: Urgency,
}

/// How soon a plan is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Urgency {
    /// At once, and for a short while: weights are used as they are packed, though others would be
    /// faster.
    Stopgap,
    /// As soon as it can be ready.
    #[default]
    Soon,
    /// Frames go on under another plan: weights are packed so as not to slow them much.
    Patient,
}

/// What a leader tells a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LeaderMessage {
    /// Measure the device's speed and answer with [`WorkerMessage::Measured`].
    Measure {
        /// With which kernels.
        kernels: KernelKind,
    },
    /// Start a session for a model.
    Open {
        /// The session.
        session: SessionId,
        /// The leader's name.
        #[serde(deserialize_with = "shown")]
        leader: String,
        /// The model's manifest, encoded.
        #[serde(with = "serde_bytes")]
        manifest: Vec<u8>,
        /// How the graph's inputs travel.
        encodings: Vec<Encoding>,
        /// Which kernels to compute with.
        kernels: KernelKind,
        /// Whether to report when every step of a frame ran.
        #[serde(default)]
        traced: bool,
    },
    /// Get ready to run a plan; answered by [`WorkerMessage::Ready`] or
    /// [`WorkerMessage::Refused`].
    Prepare {
        /// The session.
        session: SessionId,
        /// The plan and who is in it.
        prepare: Prepare,
    },
    /// Discard all work on these frames of a generation.
    Abort {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
        /// The frames.
        frames: Vec<u64>,
    },
    /// Discard a generation: no more frames will come for it.
    Retire {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
    },
    /// Say what is missing in a frame that takes long; answered by [`WorkerMessage::Inspected`],
    /// once the step that is being computed is done.
    Inspect {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
        /// The frame.
        frame: u64,
    },
    /// Keep the weights at hand that these plans need: each may replace the present one from one moment
    /// to the next, when another device is lost. Replaces what was wanted before. After that, fetch the
    /// rest of the model. All of it with patience: frames come first. Answered by
    /// [`WorkerMessage::StandsBy`], and [`WorkerMessage::Stored`].
    Standby {
        /// The session.
        session: SessionId,
        /// Numbers these messages.
        set: u32,
        /// What packed weights are kept as.
        weights: DType,
        /// For each plan, which region this device computes of every layer with parameters.
        plans: Vec<BTreeMap<LayerId, Region>>,
    },
    /// A device is gone: give up the connections to it.
    Disconnect {
        /// The session.
        session: SessionId,
        /// The device.
        node: NodeId,
        /// Which run of its process.
        incarnation: Incarnation,
    },
    /// End the session.
    Close {
        /// The session.
        session: SessionId,
        /// Why, in words.
        #[serde(deserialize_with = "shown")]
        reason: String,
    },
}

/// Why a worker will not run a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// There is not enough memory.
    #[error("needs {needed}, {available} are free")]
    Memory {
        /// What the plan needs on this device.
        needed: Bytes,
        /// What is left within the limit.
        available: Bytes,
    },
    /// It cannot reach a device that it exchanges strips with.
    #[error("cannot reach {peer}: {error}")]
    Unreachable {
        /// The other device.
        peer: NodeId,
        /// The error of the operating system.
        #[serde(deserialize_with = "shown")]
        error: String,
    },
    /// The weights could not be fetched.
    #[error("weights: {0}")]
    Weights(#[serde(deserialize_with = "shown")] String),
    /// The plan or the session is invalid.
    #[error("{0}")]
    Invalid(#[serde(deserialize_with = "shown")] String),
}

/// How long a stage took on one device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// Index of the stage.
    pub stage: u32,
    /// Time spent computing its steps.
    pub compute: Ms,
}

/// When a step of a frame ran on one device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Index of the step in the device's program.
    pub step: u32,
    /// When it began, by the device's own clock, which starts anywhere.
    pub begun: Ms,
    /// How long it took.
    pub took: Ms,
}

/// One measurement of the speed benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayerSample {
    /// Which kind of layer, as [`crate::cost`] numbers them.
    pub kind: u8,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes of activations read and written.
    pub activation_bytes: f64,
    /// Bytes of weights read.
    pub weight_bytes: f64,
    /// How long it took.
    pub time: Ms,
}

/// What the speed benchmark found on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkResult {
    /// Which kernels were measured.
    pub kernels: KernelKind,
    /// Every measurement of a layer.
    pub samples: Vec<LayerSample>,
    /// What a message costs.
    pub messages: MessageCost,
}

/// What a worker tells its leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WorkerMessage {
    /// Answer to [`LeaderMessage::Measure`].
    Measured(BenchmarkResult),
    /// How far it has got with its weights.
    Fetching {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
        /// Bytes that it has.
        have: Bytes,
        /// Bytes that it needs in total.
        need: Bytes,
        /// Bytes that it has read to pack them.
        packed: Bytes,
    },
    /// The plan can run here.
    Ready {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
    },
    /// The plan cannot run here.
    Refused {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
        /// Why.
        why: Refusal,
    },
    /// Its part of a frame is done.
    Finished {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
        /// The frame.
        frame: u64,
        /// What each of its stages took.
        times: Vec<StageTime>,
        /// When each step ran, in sessions that are traced.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<StepTime>,
    },
    /// Its part of a frame failed.
    Failed {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
        /// The frame.
        frame: u64,
        /// What went wrong.
        #[serde(deserialize_with = "shown")]
        error: String,
    },
    /// It has packed some of what [`LeaderMessage::Standby`] asked for.
    StandsBy {
        /// The session.
        session: SessionId,
        /// Which message it answers.
        set: u32,
        /// For how many of the plans, the first ones.
        plans: u32,
        /// Whether that is all: there are no more, or there is no room for more.
        done: bool,
    },
    /// All weights of the model are on its disk.
    Stored {
        /// The session.
        session: SessionId,
    },
    /// It lost the connection to another device of the plan.
    LinkDown {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
        /// The other device.
        peer: NodeId,
        /// The error of the operating system.
        #[serde(deserialize_with = "shown")]
        error: String,
    },
    /// What its part of a frame has yet to receive and to send.
    Inspected {
        /// The session.
        session: SessionId,
        /// The generation.
        generation: Generation,
        /// The frame.
        frame: u64,
        /// Transfers that have not arrived.
        awaits: Vec<TransferId>,
        /// Transfers that it has not sent.
        owes: Vec<TransferId>,
    },
    /// The device is about to leave in an orderly way: it finishes what runs, takes part in no new plan,
    /// and goes once no plan includes it.
    Leaving,
}

impl WorkerMessage {
    /// The session that it refers to, if any.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            WorkerMessage::Fetching { session, .. }
            | WorkerMessage::Ready { session, .. }
            | WorkerMessage::Refused { session, .. }
            | WorkerMessage::Finished { session, .. }
            | WorkerMessage::Failed { session, .. }
            | WorkerMessage::StandsBy { session, .. }
            | WorkerMessage::Stored { session }
            | WorkerMessage::LinkDown { session, .. }
            | WorkerMessage::Inspected { session, .. } => Some(*session),
            WorkerMessage::Measured(_) | WorkerMessage::Leaving => None,
        }
    }
}

/// Messages on a connection for weights. A worker asks, and the leader or another worker answers in the
/// same order, with each chunk as payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WeightsMessage {
    /// Send these chunks of the session's manifest, by index.
    Fetch {
        /// Indices into the manifest's chunks.
        chunks: Vec<u32>,
    },
    /// A chunk; its bytes are the payload.
    Chunk {
        /// Its index.
        chunk: u32,
    },
    /// A chunk that the device does not have or cannot read.
    Unavailable {
        /// Its index.
        chunk: u32,
        /// Why.
        #[serde(deserialize_with = "shown")]
        error: String,
    },
}
