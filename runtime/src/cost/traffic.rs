//! What a plan moves between devices, and what it computes twice.

use super::work::Work;
use crate::graph::Graph;
use crate::plan::Plan;
use crate::program::{Action, Derivation, Encoding, Purpose};
use crate::units::{Bytes, Flops};

/// What follows from one stage's split.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StageTraffic {
    /// Work of all devices together in excess of that of the stage on one device.
    pub redundant: Flops,
    /// Payload that travels for the stage, including its outputs if they are gathered to the
    /// leader.
    pub bytes_in: Bytes,
}

/// What a plan moves in one inference.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Traffic {
    /// By stage.
    pub stages: Vec<StageTraffic>,
    /// Payload between all devices, including the answer.
    pub bytes_moved: Bytes,
}

/// Counts what a derived plan moves and computes twice.
pub fn traffic(
    graph: &Graph,
    encodings: &[Encoding],
    plan: &Plan,
    derivation: &Derivation,
) -> Traffic {
    let mut done = vec![0.0; plan.stages.len()];
    for step in derivation.programs.iter().flat_map(|program| &program.steps) {
        if let Action::Compute { stage, runs } = &step.action {
            let works = runs.iter().map(|run| Work::of(graph, run.layer, run.region));
            done[*stage] += works.map(|work| work.flops).sum::<f64>();
        }
    }
    let mut stages: Vec<StageTraffic> = plan
        .stages
        .iter()
        .zip(done)
        .map(|(stage, done)| {
            let whole: f64 = stage
                .layer_ids()
                .map(|layer| Work::of(graph, layer, graph.output_shape(layer).region()).flops)
                .sum();
            StageTraffic { redundant: Flops((done - whole).max(0.0)), bytes_in: Bytes::ZERO }
        })
        .collect();
    let mut bytes_moved = Bytes::ZERO;
    for transfer in &derivation.transfers {
        let bytes = transfer.bytes(graph, encodings);
        bytes_moved += bytes;
        if let Purpose::Stage(stage) | Purpose::Gather(stage) = transfer.purpose {
            stages[stage].bytes_in += bytes;
        }
    }
    Traffic { stages, bytes_moved }
}
