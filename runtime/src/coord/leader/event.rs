//! What the leader of a session is told, and what it tells to do.

use crate::coord::Reason;
use crate::ids::NodeId;
use crate::plan::{Generation, Plan};
use crate::units::{Bytes, Ms};

/// A plan that somebody made.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The plan.
    pub plan: Plan,
    /// Its devices, in its order; the leader first.
    pub members: Vec<NodeId>,
    /// Why it was made.
    pub reason: Reason,
    /// Good only until a better one has its weights; then another is asked for.
    pub provisional: bool,
    /// Predicted time of a frame.
    pub predicted: Ms,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A device is connected, and its profile is known: it may be planned with.
    Joined(NodeId),
    /// A device said goodbye.
    Left(NodeId),
    /// A device died, or is silent for too long.
    Lost(NodeId),
    /// A member is getting its weights.
    Progress {
        /// Which device.
        node: NodeId,
        /// For which plan.
        generation: Generation,
        /// Bytes it has.
        have: Bytes,
        /// Bytes it needs; nothing until that is known.
        need: Bytes,
    },
    /// A member is ready.
    Ready {
        /// Which device.
        node: NodeId,
        /// For which plan.
        generation: Generation,
    },
    /// A member will not run a plan.
    Refused {
        /// Which device.
        node: NodeId,
        /// Which plan.
        generation: Generation,
        /// Why, for people.
        why: String,
    },
    /// The answer to [`Command::RequestPlan`].
    Proposed {
        /// Which request.
        request: u32,
        /// The plan, or why there is none.
        proposal: Result<Proposal, String>,
    },
    /// Measurements say that another plan is better; taken up if nothing else is going on.
    Improved(Proposal),
    /// A frame is to be answered.
    Submitted {
        /// Its number.
        frame: u64,
    },
    /// The outputs of a frame are complete.
    Answered {
        /// Its number.
        frame: u64,
        /// Under which plan.
        generation: Generation,
    },
    /// A member could not do its part of a frame.
    Failed {
        /// Which device.
        node: NodeId,
        /// Under which plan.
        generation: Generation,
        /// Which frame.
        frame: u64,
        /// What went wrong.
        error: String,
    },
    /// A member lost its connection to another.
    LinkDown {
        /// Which device says so.
        node: NodeId,
        /// Under which plan.
        generation: Generation,
        /// The other one.
        peer: NodeId,
    },
    /// Time passes; to be told every [`TICK`](crate::coord::liveness::TICK) or so.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Make a plan. An earlier request that is still open is void.
    RequestPlan {
        /// Identifies the request.
        request: u32,
        /// Why.
        reason: Reason,
        /// Who may be in it, in cluster order, the leader first.
        members: Vec<NodeId>,
    },
    /// Tell all members to get ready for a plan.
    Prepare {
        /// Its number.
        generation: Generation,
        /// The plan.
        proposal: Proposal,
    },
    /// A plan is active: frames start under it from now on.
    Activate {
        /// Its number.
        generation: Generation,
    },
    /// Start a frame.
    Start {
        /// Its number.
        frame: u64,
        /// Under which plan.
        generation: Generation,
    },
    /// Tell these devices to forget what they did for a frame.
    Abort {
        /// Its number.
        frame: u64,
        /// Under which plan.
        generation: Generation,
        /// Who.
        members: Vec<NodeId>,
    },
    /// Tell these devices to forget a plan.
    Retire {
        /// Its number.
        generation: Generation,
        /// Who.
        members: Vec<NodeId>,
    },
    /// Hand out an answer.
    Answer {
        /// Of which frame.
        frame: u64,
        /// Under which plan.
        generation: Generation,
        /// How often the frame was begun anew.
        retries: u32,
    },
    /// A frame has failed for good.
    FailFrame {
        /// Which.
        frame: u64,
        /// How often it was begun.
        attempts: u32,
        /// Why.
        error: String,
    },
    /// A device will not be planned with for a while.
    BackOff {
        /// Which.
        node: NodeId,
        /// Why, for people.
        why: String,
    },
    /// There is no plan, and nothing to wait for.
    NoPlan {
        /// Why.
        why: String,
    },
    /// The session is over: no frame will be answered any more.
    End {
        /// Why.
        why: String,
    },
}
