//! A plan, as users see it.

use edgeld_runtime::coord::Reason;
use edgeld_runtime::plan::{Generation, Plan};
use edgeld_runtime::units::{Bytes, Flops, Ms};
use edgeld_runtime::wire::NodeId;
use serde::Serialize;

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

fn as_giga<S: serde::Serializer>(flops: &Flops, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(flops.giga())
}
