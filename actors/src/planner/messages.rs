//! What a PlannerActor is told, and what it answers.

use std::sync::Arc;

use actix::prelude::*;
use edgeld_runtime::coord::Reason;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::kernel::Isa;
use edgeld_runtime::program::Program;
use edgeld_runtime::wire::NodeId;

use super::solver::{Candidate, SolveOutcome};

/// A device, as it is known.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct UpdateDevice {
    /// Which.
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

/// A plan is wanted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RequestPlan {
    /// Names the request.
    pub request: u32,
    /// Why.
    pub reason: Reason,
    /// Who may be in it, the leader first.
    pub members: Vec<NodeId>,
}

/// The answer, or with `request: None` a better plan that nobody asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Planned {
    /// The request.
    pub request: Option<u32>,
    /// The plan, or why there is none.
    pub result: Result<Box<Candidate>, String>,
}

/// A device has got the weights of a plan.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WeightsHeld {
    /// Which.
    pub node: NodeId,
    /// What it does in the plan.
    pub program: Arc<Program>,
}

/// A plan is active.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PlanActivated(pub Candidate);

/// A frame was answered.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FrameAnswered;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Solved(pub(super) SolveOutcome);
