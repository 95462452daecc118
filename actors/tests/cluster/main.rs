//! Clusters through the library's face: within one process over the in-memory transport, and as
//! real processes over TCP. Whatever devices do, every answer is that of one device, bit for bit.

mod faults;
mod memory;
#[cfg(unix)]
mod processes;

use std::sync::Arc;
use std::time::Duration;

use edgeld::{
    Answer, Builder, Cluster, Event, Input, LoadOptions, Model, PlanInfo, Reason, Source,
};
use edgeld_runtime::graph::DType;
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::plan::InFlight;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::{Objective, Policy};
use edgeld_runtime::wire::NodeId;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// What a test waits for comes within this time, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A small VGG with seeded weights.
fn source() -> Source {
    let model = models::open("vgg11?size=32&classes=10", &Options::default()).unwrap();
    let encodings = vec![Encoding::F32];
    Source { graph: model.graph, weights: model.weights, encodings }
}

/// The inputs of frame number `frame`.
fn inputs(source: &Source, frame: u64) -> Vec<Input> {
    let elements = source.graph.shape(source.graph.inputs()[0].tensor).elements();
    let value = |index: u64| ((index * 7 + frame * 13) % 101) as f32 * 0.01 - 0.5;
    vec![Input::from((0..elements).map(value).collect::<Vec<f32>>())]
}

/// A leader that computes with exact kernels on one thread.
fn leader(name: &str, home: &std::path::Path) -> Builder {
    Cluster::builder()
        .name(name)
        .device_name("leader")
        .kernels(KernelKind::Exact)
        .threads(1)
        .mdns(false)
        .home(home)
}

/// A share for everybody.
fn spread() -> LoadOptions {
    let policy = Policy { spread: true, ..Policy::default() };
    LoadOptions { policy, ..LoadOptions::default() }
}

/// A share for everybody, of three frames at once.
fn three_in_flight() -> LoadOptions {
    let policy = Policy { spread: true, in_flight: Some(InFlight::of(3)), ..Policy::default() };
    LoadOptions { policy, ..LoadOptions::default() }
}

/// Whole frames for everybody.
fn throughput() -> LoadOptions {
    let objective = Objective::Throughput;
    let policy = Policy { objective, spread: true, ..Policy::default() };
    LoadOptions { policy, ..LoadOptions::default() }
}

/// One device's answers, to compare with.
async fn references(cluster: &Cluster, source: &Source, frames: u64) -> Vec<Answer> {
    let options = LoadOptions { alone: true, ..LoadOptions::default() };
    let model = cluster.load_with(source.clone(), options).await.unwrap();
    let mut answers = Vec::new();
    for frame in 0..frames {
        answers.push(model.infer(&inputs(source, frame)).await.unwrap());
    }
    answers
}

fn same_bits(answer: &Answer, reference: &Answer) {
    let bits = |answer: &Answer| -> Vec<Vec<u32>> {
        let outputs = answer.outputs.iter();
        outputs.map(|output| output.data.iter().map(|value| value.to_bits()).collect()).collect()
    };
    assert_eq!(bits(answer), bits(reference));
}

/// Every element within `tolerance` of the largest, and the same top class.
fn within(tolerance: f32, answer: &Answer, reference: &Answer) {
    for (output, reference) in answer.outputs.iter().zip(&reference.outputs) {
        let largest = reference.data.iter().fold(0f32, |most, value| most.max(value.abs()));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance * largest;
        assert!(output.data.iter().zip(&reference.data).all(near));
        let top = |data: &[f32]| (0..data.len()).max_by(|a, b| data[*a].total_cmp(&data[*b]));
        assert_eq!(top(&output.data), top(&reference.data));
    }
}

/// Submits a frame for each reference at once and checks the answers and their order.
async fn infer_at_once(model: &Model, source: &Source, references: &[Answer]) -> Vec<Answer> {
    let infer = async |(frame, reference): (usize, &Answer)| {
        let answer = model.infer(&inputs(source, frame as u64)).await.unwrap();
        same_bits(&answer, reference);
        answer
    };
    let answers = stream::iter(references.iter().enumerate()).map(infer);
    // As they come, not as they were submitted.
    let answers: Vec<Answer> = answers.buffer_unordered(references.len()).collect().await;
    assert!(answers.is_sorted_by_key(|answer| answer.frame));
    answers
}

/// Runs frames, each checked, until a plan with this reason is told.
async fn run_until(
    model: &Model,
    source: &Source,
    references: &[Answer],
    events: &mut UnboundedReceiver<Event>,
    reason: Reason,
) -> Arc<PlanInfo> {
    let run = async {
        for frame in (0..references.len()).cycle() {
            let answer = model.infer(&inputs(source, frame as u64)).await.unwrap();
            same_bits(&answer, &references[frame]);
            while let Ok(event) = events.try_recv() {
                match event {
                    Event::Plan(plan) if plan.reason == reason => return plan,
                    _ => {}
                }
            }
        }
        unreachable!("an endless loop")
    };
    timeout(PATIENCE, run).await.unwrap_or_else(|_| panic!("no plan with reason {reason:?}"))
}

/// The devices with a share in a plan.
fn holders(plan: &PlanInfo) -> Vec<NodeId> {
    holders_of_any([plan])
}

/// The devices with a share in any of these plans.
fn holders_of_any<'a>(plans: impl IntoIterator<Item = &'a PlanInfo>) -> Vec<NodeId> {
    let stages = plans.into_iter().flat_map(|plan| &plan.stages);
    let shares = stages.flat_map(|stage| &stage.shares);
    let mut nodes: Vec<NodeId> = shares.map(|share| share.device.parse().unwrap()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}
