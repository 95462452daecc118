//! What the worker is told.

use std::sync::Arc;

use actix::prelude::*;
use edgeld_runtime::exec::{Input, Prepared};
use edgeld_runtime::graph::Graph;
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::weights::WeightSource;
use edgeld_runtime::wire::{LeaderMessage, NodeId, Refusal, SessionId, SuiteResult};

use super::executor::Report;
use crate::transport::Connection;

/// A peer has connected and greeted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Accepted(pub Connection);

/// The device goes away in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

/// A leader says something.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LeaderSent {
    /// Number of its control connection.
    pub control: u64,
    /// What it says.
    pub message: LeaderMessage,
}

/// A leader's control connection has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ControlEnded {
    /// Its number.
    pub control: u64,
    /// Why.
    pub why: String,
}

/// A connection for strips has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StripsEnded {
    /// Of which session.
    pub session: SessionId,
    /// Its number.
    pub number: u64,
    /// To which device.
    pub node: NodeId,
    /// Why.
    pub why: String,
}

/// This device leads a session itself: its model is here, and so are inputs and answers.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct HostSession {
    /// The session.
    pub session: SessionId,
    /// The model.
    pub graph: Arc<Graph>,
    /// Its weights.
    pub weights: Arc<dyn WeightSource>,
    /// Who is told of answers.
    pub answers: Recipient<FrameOutputs>,
}

/// This device no longer leads a session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReleaseSession(pub SessionId);

/// The inputs of a frame of a session that this device leads.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StartFrame {
    /// The session.
    pub session: SessionId,
    /// Under which plan.
    pub generation: Generation,
    /// Which frame.
    pub frame: u64,
    /// All inputs of the model.
    pub inputs: Vec<Input>,
}

/// The outputs of a frame of a session that this device leads.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FrameOutputs {
    /// Under which plan.
    pub generation: Generation,
    /// Which frame.
    pub frame: u64,
    /// In the model's order.
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
    pub(super) have: Bytes,
    pub(super) need: Bytes,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PreparationDone {
    pub(super) session: SessionId,
    pub(super) generation: Generation,
    pub(super) result: Result<Arc<Prepared>, Refusal>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ExecutorReported {
    pub(super) session: SessionId,
    pub(super) report: Report,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct BenchmarkDone(pub(super) Result<SuiteResult, (KernelKind, String)>);
