//! Messages to the WorkerActor.

use std::sync::Arc;

use actix::prelude::*;
use edgeld_runtime::exec::Input;
use edgeld_runtime::graph::Graph;
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::weights::WeightSource;
use edgeld_runtime::wire::{BenchmarkResult, LeaderMessage, NodeId, Refusal, SessionId};

use super::claim::ClaimedPlan;
use super::executor::Report;
use super::preparation::Packing;
use super::standby::Step;
use crate::transport::Connection;

/// A peer has connected.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Accepted(pub Connection);

/// Tell all leaders goodbye and take part in no new plan. Completes when no plan runs here any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

/// Close all sessions.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CloseSessions;

/// A leader has sent a message.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LeaderSent {
    /// The control connection.
    pub control_id: u64,
    /// The message.
    pub message: LeaderMessage,
}

/// A leader's control connection has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ControlEnded {
    /// The control connection.
    pub control_id: u64,
    /// Why.
    pub why: String,
}

/// A connection for strips has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StripsEnded {
    /// The session.
    pub session: SessionId,
    /// The connection.
    pub connection_id: u64,
    /// Why.
    pub why: String,
}

/// Host a session that this device leads: its model, inputs and answers are local.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct HostSession {
    /// The session.
    pub session: SessionId,
    /// The model.
    pub graph: Arc<Graph>,
    /// Its weights.
    pub weights: Arc<dyn WeightSource>,
    /// Receives the outputs of its frames.
    pub answers: Recipient<FrameOutputs>,
}

/// Close a session that this device leads.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReleaseSession(pub SessionId);

/// Start a frame of a session that this device leads.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StartFrame {
    /// The session.
    pub session: SessionId,
    /// The plan to run it under.
    pub generation: Generation,
    /// The frame's number.
    pub frame: u64,
    /// All inputs of the model.
    pub inputs: Vec<Input>,
}

/// The outputs of a frame, sent to the pipeline that leads the session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FrameOutputs {
    /// The plan it ran under.
    pub generation: Generation,
    /// The frame's number.
    pub frame: u64,
    /// All outputs, in the model's order.
    pub outputs: Vec<Vec<f32>>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Dialled {
    pub(super) session: SessionId,
    pub(super) node: NodeId,
    pub(super) connection: Result<Connection, String>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WeightsProgress {
    pub(super) session: SessionId,
    pub(super) generation: Generation,
    pub(super) progress: Packing,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PreparationDone {
    pub(super) session: SessionId,
    pub(super) generation: Generation,
    pub(super) result: Result<ClaimedPlan, Refusal>,
}

/// Nobody uses the memory of a plan any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Released {
    pub(super) session: SessionId,
    pub(super) generation: Generation,
}

/// Weights were packed in advance.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StandbyReported {
    pub(super) session: SessionId,
    /// Which of the leader's messages it is about.
    pub(super) set: u32,
    pub(super) step: Step,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ExecutorReported {
    pub(super) session: SessionId,
    pub(super) report: Report,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct BenchmarkDone {
    pub(super) kernels: KernelKind,
    pub(super) result: Result<BenchmarkResult, String>,
    /// Whether the result was known, and only checked.
    pub(super) was_known: bool,
}
