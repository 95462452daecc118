//! A plan as users see it.

use edgeld_runtime::coord::Reason;
use edgeld_runtime::plan::{Generation, InFlight, Plan};
use edgeld_runtime::units::{Bytes, Flops, Ms};
use edgeld_runtime::wire::NodeId;
use serde::Serialize;

/// A stage of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageInfo {
    /// Names of its layers.
    pub layers: Vec<String>,
    /// `rows`, `features` or `whole`.
    pub split: &'static str,
    /// Each device's part; empty shares are omitted.
    pub shares: Vec<ShareInfo>,
    /// Work done by more than one device.
    #[serde(rename = "redundant_gflop", serialize_with = "as_giga")]
    pub redundant: Flops,
    /// Payload transferred for this stage.
    pub bytes_in: Bytes,
}

/// A share of a stage: rows of its last layer, or features.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShareInfo {
    /// The device: its id, or its name in `plan --lan`.
    pub device: String,
    /// First row or feature.
    pub from: u32,
    /// One past the last.
    pub to: u32,
}

/// A plan and the reasons behind it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanInfo {
    /// Its number.
    pub generation: Generation,
    /// Why it was made.
    pub reason: Reason,
    /// What it is to be best at: `latency` or `throughput`.
    pub objective: String,
    /// `bodp`, `ocbp` or `minmax`.
    pub partition: String,
    /// `layerwise`, `block` or `auto`.
    pub fusion: String,
    /// `leader` or `peer`.
    pub exchange: String,
    /// What activations travel as: `f32` or `f16`.
    pub wire: String,
    /// What devices keep packed weights as: `f32` or `f16`.
    pub weights: String,
    /// Whether the answer is bit-identical to that of one device with weights of float32.
    pub exact: bool,
    /// Predicted time of one inference.
    #[serde(rename = "predicted_ms")]
    pub predicted: Ms,
    /// How many frames it carries at once.
    pub in_flight: InFlight,
    /// The part of all frames that is predicted to run under it; the others run under other plans,
    /// side by side with it.
    pub part_of_frames: f64,
    /// Predicted rate of answers, under all plans that run side by side, while there are always frames
    /// waiting.
    pub frames_per_second: f64,
    /// Predicted time on the leader alone; `None` if the model does not fit there.
    #[serde(rename = "alone_ms")]
    pub alone: Option<Ms>,
    /// Its stages, in order.
    pub stages: Vec<StageInfo>,
    /// Why each device got its share, and what other devices and links would bring, in words; empty
    /// unless asked for.
    #[serde(skip)]
    pub explanation: Vec<String>,
    /// The plan itself.
    #[serde(skip)]
    pub plan: Plan,
    /// Its devices, in cluster order.
    #[serde(skip)]
    pub members: Vec<NodeId>,
}

fn as_giga<S: serde::Serializer>(flops: &Flops, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(flops.giga())
}
