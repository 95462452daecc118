//! What a ProfilerActor is told, and what it tells.

use std::sync::Arc;

use actix::prelude::*;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::graph::Graph;
use edgeld_runtime::program::Program;
use edgeld_runtime::wire::{NodeId, StageTime, SuiteResult};

/// The device has run the suite.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct BenchmarkDone(pub SuiteResult);

/// The device has done its part of a frame.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StagesTimed {
    /// The model.
    pub graph: Arc<Graph>,
    /// What the device did.
    pub program: Arc<Program>,
    /// What it took.
    pub times: Vec<StageTime>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LinkProbed(pub(super) LinkProfile);

/// What a profiler has found.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ProfileUpdated {
    /// The device.
    pub node: NodeId,
    /// Number of the connection that the profiler belongs to.
    pub number: u64,
    /// Its speed.
    pub profile: DeviceProfile,
    /// Its link.
    pub link: LinkProfile,
}
