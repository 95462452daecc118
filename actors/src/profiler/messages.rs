//! Messages to a ProfilerActor, and the event it sends.

use std::sync::Arc;
use std::time::Duration;

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

/// A frame took so long that the link to the device may have become slower.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SuspectLink;

/// A probe of the link is over.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LinkProbed {
    /// What it measured, if it did not fail.
    pub(super) link: Option<LinkProfile>,
    /// How long it took.
    pub(super) took: Duration,
}

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
