//! The leader's events and commands.

use crate::coord::Reason;
use crate::ids::{Incarnation, NodeId, Pair};
use crate::plan::{Generation, InFlight, Plan};
use crate::program::TransferId;
use crate::units::{Bytes, Ms};

/// One of the plans that run side by side. Every frame runs under one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// The plan.
    pub plan: Plan,
    /// Its devices, in its order; the leader first.
    pub members: Vec<NodeId>,
    /// Predicted time of a frame.
    pub predicted: Ms,
    /// Predicted time from one answer to the next, while frames wait for all lanes.
    pub interval: Ms,
    /// How many frames this plan carries at once.
    pub in_flight: InFlight,
}

impl Lane {
    /// Whether it runs as the other does, whatever is predicted of them.
    pub(super) fn runs_like(&self, other: &Lane) -> bool {
        self.plan == other.plan
            && self.members == other.members
            && self.in_flight == other.in_flight
    }
}

/// What the planner proposes: one plan, or several that run side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The plans; at least one.
    pub lanes: Vec<Lane>,
    /// How many frames are in the cluster at once, under all lanes together.
    pub in_flight: InFlight,
    /// Why it was made.
    pub reason: Reason,
    /// Good only until the weights for a better one have moved; once active, another is requested.
    pub provisional: bool,
    /// How long it would take until the leader alone has answered a frame, if it had to prepare itself
    /// for that first; zero if that is not known.
    pub alone: Ms,
}

/// A strip that a device waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awaited {
    /// Which transfer of the plan.
    pub transfer: TransferId,
    /// Who sends it.
    pub from: NodeId,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A device is connected and its profile is known, so that plans may include it.
    Joined {
        /// Which device.
        node: NodeId,
        /// Which run of its process.
        incarnation: Incarnation,
    },
    /// A device is about to leave: it finishes the frames that it has a part in, and is in no new plan.
    Leaving(NodeId),
    /// A device left in an orderly way.
    Left(NodeId),
    /// A device died or has been silent for too long.
    Lost(NodeId),
    /// A member is fetching and packing its weights.
    Progress {
        /// Which device.
        node: NodeId,
        /// For which plan.
        generation: Generation,
        /// Bytes it has, and bytes it has packed, together.
        done: Bytes,
        /// Bytes it needs; zero until that is known.
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
        /// Why, in words.
        why: String,
    },
    /// The answer to [`Command::RequestPlan`].
    Proposed {
        /// Which request.
        request: u32,
        /// The plan, or why there is none.
        proposal: Result<Proposal, String>,
    },
    /// Measurements favour another plan; it is taken up unless another change is under way.
    Improved(Proposal),
    /// A caller wants a frame answered.
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
    /// A member lost its connection to another, or cannot connect to it.
    LinkDown {
        /// Which device reports it.
        node: NodeId,
        /// Under which plan.
        generation: Generation,
        /// The device at the other end.
        peer: NodeId,
    },
    /// The answer of one of the devices to [`Command::Inspect`].
    Inspected {
        /// Which device.
        node: NodeId,
        /// Under which plan.
        generation: Generation,
        /// Which frame.
        frame: u64,
        /// Strips that have not arrived there.
        awaits: Vec<Awaited>,
        /// Strips that it has not sent yet.
        owes: Vec<TransferId>,
    },
    /// Time has passed; send one every [`TICK`](crate::coord::liveness::TICK) or so.
    Tick,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Make a plan. An earlier request that is still open is void.
    RequestPlan {
        /// Identifies the request.
        request: u32,
        /// Why.
        reason: Reason,
        /// The devices to choose from, in cluster order, the leader first.
        members: Vec<NodeId>,
        /// Those of them that cannot exchange strips.
        apart: Vec<Pair>,
    },
    /// Tell all members to get ready for a plan.
    Prepare {
        /// Its number.
        generation: Generation,
        /// The plan.
        lane: Lane,
    },
    /// These plans are active: frames start under them from now on.
    Activate {
        /// Number and plan of each. Some may have been active before.
        lanes: Vec<(Generation, Lane)>,
        /// Why.
        reason: Reason,
    },
    /// Start a frame.
    Start {
        /// Its number.
        frame: u64,
        /// Under which plan.
        generation: Generation,
    },
    /// Tell these devices to discard their work on a frame.
    Abort {
        /// Its number.
        frame: u64,
        /// Under which plan.
        generation: Generation,
        /// Who.
        members: Vec<NodeId>,
    },
    /// Ask these devices what they still wait for in a frame.
    Inspect {
        /// Its number.
        frame: u64,
        /// Under which plan.
        generation: Generation,
        /// Who.
        members: Vec<NodeId>,
    },
    /// Tell these devices to give up their connections to one that is gone.
    Disconnect {
        /// The device that is gone.
        node: NodeId,
        /// Which run of its process.
        incarnation: Incarnation,
        /// Who.
        members: Vec<NodeId>,
    },
    /// Tell these devices to discard a plan.
    Retire {
        /// Its number.
        generation: Generation,
        /// Who.
        members: Vec<NodeId>,
    },
    /// A frame is done: keep its outputs until [`Answer`](Command::Answer).
    Complete {
        /// Its number.
        frame: u64,
        /// Under which plan.
        generation: Generation,
        /// How often the frame was restarted.
        retries: u32,
    },
    /// Deliver the answer to a frame that is done. Answers come in the order of their frames.
    Answer {
        /// Its number.
        frame: u64,
    },
    /// Report that a frame has failed for good.
    FailFrame {
        /// Which.
        frame: u64,
        /// How often it was started.
        attempts: u32,
        /// Why.
        error: String,
    },
    /// Report that a device is left out of plans for a while.
    BackOff {
        /// Which.
        node: NodeId,
        /// Why, in words.
        why: String,
    },
    /// Report that two devices cannot reach each other: plans do without that for a while.
    KeepApart {
        /// Which.
        pair: Pair,
    },
    /// Report that there is no plan and nothing left to wait for.
    NoPlan {
        /// Why.
        why: String,
    },
    /// Report that the session is over: no more frames will be answered.
    End {
        /// Why.
        why: String,
    },
}
