//! Times a model on this machine alone, stage by stage.

use std::sync::Arc;
use std::time::Instant;

use edgeld_runtime::exec::{Frame, Input, Prepared, Progress};
use edgeld_runtime::graph::{Graph, LayerId};
use edgeld_runtime::kernel::{Kernels, Scratch, Setup, Threads};
use edgeld_runtime::models::Model;
use edgeld_runtime::plan::{DeviceIx, Generation, Plan, Split, Stage};
use edgeld_runtime::program::{Encoding, derive};
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::SessionId;

use super::exit::Exit;

/// A plan with one stage per layer, so that each layer can be timed.
pub fn stage_per_layer(graph: &Graph) -> Plan {
    let stage = |layer: LayerId| Stage {
        layers: layer.0..layer.0 + 1,
        split: Split::Whole(DeviceIx::LEADER),
    };
    Plan::new(1, graph.layer_ids().map(stage).collect())
}

/// Prepares a plan as a worker does, with weights kept as the plan says; packed ones are shared with
/// `previous`.
///
/// # Errors
/// When there is no memory for it.
pub fn prepare(
    model: &Model,
    plan: &Plan,
    setup: Setup,
    previous: Option<&Kernels>,
) -> Result<Arc<Prepared>, Exit> {
    let graph = &model.graph;
    let derivation = derive(graph, plan).map_err(bug)?;
    let program = derivation.programs.into_iter().next();
    let program = program.ok_or_else(|| bug("the plan has no program"))?;
    let setup = Setup { weights: program.weights, ..setup };
    let regions = program.regions(graph);
    let kernels = Kernels::prepare(graph, &regions, &*model.weights, setup, previous.as_slice());
    let kernels = kernels.map_err(bug)?;
    Ok(Arc::new(Prepared::new(
        (SessionId(0), Generation(0)),
        Arc::clone(graph),
        vec![Encoding::F32; graph.inputs().len()],
        program,
        derivation.transfers.into(),
        kernels,
    )))
}

/// Arbitrary inputs: speed does not depend on them, as long as they are ordinary numbers.
pub fn inputs(graph: &Graph) -> Vec<Input> {
    let value = |index: u64| (index % 251) as f32 / 125.0 - 1.0;
    graph
        .inputs()
        .iter()
        .map(|port| graph.shape(port.tensor).elements())
        .map(|count| Input::from((0..count).map(value).collect::<Vec<f32>>()))
        .collect()
}

/// What cannot happen.
pub fn bug(what: impl std::fmt::Display) -> Exit {
    Exit::failed(what, "please report this bug; --kernels burn may work")
}

/// The time of one frame.
pub struct FrameTimes {
    /// In total.
    pub total: Ms,
    /// By stage of its plan.
    pub stages: Vec<Ms>,
}

/// Computes a frame whose stages are all this device's.
///
/// # Errors
/// When a kernel fails.
pub fn time_frame(
    prepared: &Arc<Prepared>,
    inputs: &[Input],
    scratch: &mut Scratch,
    threads: &dyn Threads,
) -> Result<FrameTimes, Exit> {
    let mut frame = Frame::new(Arc::clone(prepared), 0);
    let mut stages = vec![Ms::ZERO; prepared.graph.layers().len()];
    let began = Instant::now();
    frame.begin(inputs).map_err(bug)?;
    loop {
        let step = Instant::now();
        match frame.advance(scratch, threads).map_err(bug)? {
            Progress::Computed { stage } => stages[stage] += Ms::from_duration(step.elapsed()),
            Progress::Finished => break,
            Progress::Output { .. } | Progress::Strip(_) | Progress::Waiting => {}
        }
    }
    Ok(FrameTimes { total: Ms::from_duration(began.elapsed()), stages })
}
