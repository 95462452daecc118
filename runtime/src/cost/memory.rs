//! How much of a device's memory a program needs.

use std::ops::Add;

use super::work::touched;
use crate::graph::{DType, Graph, LayerId, Op};
use crate::plan::InFlight;
use crate::program::{Action, Program};
use crate::region::ChannelRange;
use crate::units::Bytes;

/// What a worker's process takes by itself: code, connections, queues.
pub const PROCESS: Bytes = Bytes(64_000_000);

/// How much memory a program needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryNeed {
    /// Weights, in the smallest form that kernels can read.
    pub weights: Bytes,
    /// Activations of all frames in flight, at their peak.
    pub activations: Bytes,
    /// What a kernel needs besides its inputs and outputs.
    pub workspace: Bytes,
}

impl MemoryNeed {
    /// The sum, plus what the process itself takes; zero for a device without a share.
    pub fn total(&self) -> Bytes {
        let part = self.weights + self.activations + self.workspace;
        if part == Bytes::ZERO { part } else { part + PROCESS }
    }
}

impl Add for MemoryNeed {
    type Output = MemoryNeed;

    /// Of programs that run side by side.
    fn add(self, other: MemoryNeed) -> MemoryNeed {
        MemoryNeed {
            weights: self.weights + other.weights,
            activations: self.activations + other.activations,
            workspace: self.workspace + other.workspace,
        }
    }
}

/// Bytes of the weights of some features of a layer, kept as `weights` in the smallest form that
/// kernels can read.
pub fn weight_bytes(
    graph: &Graph,
    layer: LayerId,
    features: ChannelRange,
    weights: DType,
) -> Bytes {
    match &graph.layer(layer).op {
        Op::Conv(conv) => Bytes(conv.packed_bytes(features, graph.input_shapes(layer)[0], weights)),
        Op::Constant(constant) => {
            let row = u64::from(graph.parameter(constant.value).row);
            Bytes(u64::from(features.len()) * row * DType::F32.size())
        }
        _ => Bytes::ZERO,
    }
}

/// Counts what `program` needs to carry `in_flight` frames at once.
///
/// The workspace is as large as the inputs and outputs of the largest layer: kernels copy or
/// transform at most that much at a time. Functions of whole tensors may need more beside.
pub fn memory(graph: &Graph, program: &Program, in_flight: InFlight) -> MemoryNeed {
    let features = program.features(graph).into_iter();
    let bytes = |(layer, features)| weight_bytes(graph, layer, features, program.weights);
    let weights = features.map(bytes);
    let mut workspace = 0.0f64;
    for step in &program.steps {
        if let Action::Compute { runs, .. } = &step.action {
            for run in runs {
                let scratch = match &graph.layer(run.layer).op {
                    Op::General(general) => general.scratch().unwrap_or(0) * DType::F32.size(),
                    _ => 0,
                };
                workspace = workspace.max(touched(graph, run.layer, run.region) + scratch as f64);
            }
        }
    }
    MemoryNeed {
        weights: weights.sum(),
        activations: Bytes(program.peak_activation_bytes(graph).0 * u64::from(in_flight.frames())),
        workspace: Bytes(workspace as u64),
    }
}
