//! Messages to a ProfilerActor, and the event it sends.

use std::sync::Arc;

use actix::prelude::*;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::graph::Graph;
use edgeld_runtime::program::Program;
use edgeld_runtime::wire::{BenchmarkResult, NodeId, StageTime};

/// The device has run the benchmark.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct BenchmarkDone(pub BenchmarkResult);

/// The device has finished its part of a frame.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StagesTimed {
    /// The model.
    pub graph: Arc<Graph>,
    /// The device's program.
    pub program: Arc<Program>,
    /// The time of each stage.
    pub times: Vec<StageTime>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LinkProbed(pub(super) LinkProfile);

/// A device's profile is known or has changed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ProfileUpdated {
    /// The device.
    pub node: NodeId,
    /// The control connection the profiler belongs to.
    pub connection_id: u64,
    /// Its speed.
    pub profile: DeviceProfile,
    /// Its link.
    pub link: LinkProfile,
}
