//! Messages to a PlannerActor, and its answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use edgeld_runtime::coord::Reason;
use edgeld_runtime::coord::leader::Lane;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::graph::{DType, LayerId};
use edgeld_runtime::ids::Pair;
use edgeld_runtime::kernel::Isa;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::program::Program;
use edgeld_runtime::region::Region;
use edgeld_runtime::solve::Objective;
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::NodeId;

use super::solver::{Candidate, SolveOutcome};

/// Update or add a device.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct UpdateDevice {
    /// The device.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its instruction set.
    pub isa: Isa,
    /// Its speed.
    pub profile: DeviceProfile,
    /// Its link.
    pub link: LinkProfile,
}

/// Request a plan.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RequestPlan {
    /// Identifies the request.
    pub request_id: u32,
    /// Why.
    pub reason: Reason,
    /// Devices that the plan may use, the leader first.
    pub members: Vec<NodeId>,
    /// Those of them that cannot exchange strips.
    pub apart: Vec<Pair>,
}

/// The answer to a request, or a better plan found without one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Planned {
    /// The request; `None` for an unrequested plan.
    pub request_id: Option<u32>,
    /// The plan, or why there is none.
    pub result: Result<Box<Candidate>, String>,
}

/// A device holds weights, in memory or on disk.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WeightsHeld {
    /// The device.
    pub node: NodeId,
    /// Which.
    pub held: Held,
}

/// Weights that a device holds.
pub(crate) enum Held {
    /// Those of its program.
    Program(Arc<Program>),
    /// All of the model.
    All,
    /// Packed ones, for the first plans of a set in [`StandBy`].
    Standby {
        /// The set's number.
        set: u32,
        /// How many plans.
        plans: u32,
    },
    /// Only those on its disk: its process is gone.
    Stored,
}

/// Have devices pack weights for plans that may follow. Sent by the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StandBy {
    /// Numbers the sets of plans.
    pub set: u32,
    /// What packed weights are kept as.
    pub weights: DType,
    /// For each device, and each plan of the set: which region it computes of every layer with
    /// parameters.
    pub plans: BTreeMap<NodeId, Vec<BTreeMap<LayerId, Region>>>,
}

/// Plans were activated, to run side by side.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PlanActivated {
    /// The plans.
    pub lanes: Vec<(Generation, Lane)>,
    /// Predicted compute time of every device per frame.
    pub computes: Vec<(NodeId, Ms)>,
    /// What they were chosen by.
    pub objective: Objective,
}

/// Plan for another objective from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Pursue(pub Objective);

/// A frame was answered.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FrameAnswered {
    /// The plan that answered it.
    pub generation: Generation,
    /// From its beginning to its answer.
    pub total: Ms,
}

/// After what frames have taken, the active plan is predicted to take another time than announced.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PredictionChanged {
    /// The plan.
    pub generation: Generation,
    /// The time of a frame.
    pub predicted: Ms,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Solved(pub(super) SolveOutcome);
