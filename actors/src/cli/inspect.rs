//! `edgeld inspect`: what a model holds, and everything of it that is not supported.

use std::collections::BTreeMap;

use clap::Args;
use edgeld_runtime::cost::{Work, memory};
use edgeld_runtime::graph::{Graph, Split};
use edgeld_runtime::models;
use edgeld_runtime::onnx::Inspection;
use edgeld_runtime::plan::{InFlight, Plan};
use edgeld_runtime::program::derive;
use edgeld_runtime::units::Bytes;

use super::args::ModelArgs;
use super::events::{
    BySplit, Effort, Inspect, InspectedOperator, InspectedOutput, Port, Unsupported,
};
use super::exit::Exit;
use super::report::Report;
use super::tables;

const EXAMPLES: &str = "\
Examples:
  edgeld inspect model.onnx                          can it run, and how much of it is split?
  edgeld inspect model.onnx --input-shape 1,3,640,640
                                                     a file that leaves dimensions open
  edgeld inspect model.onnx --json | jq .unsupported every reason at once

Exit code 3 says that something of the model is not supported.";

/// Shows what a model holds, what of it can be split, and everything that is not supported
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the command.
///
/// # Errors
/// When the model cannot be read, or something of it is not supported.
pub fn inspect(args: &InspectArgs, report: &Report) -> Result<(), Exit> {
    let source = args.model.model.as_str();
    let inspection = models::inspect(source, &args.model.options())?;
    let graph = inspection.graph.as_deref();
    let effort = graph.map(effort).transpose()?.unwrap_or_default();
    let event = event(source, &inspection, effort);
    report.emit(&event)?;
    report.result(ports_text(&event))?;
    report.result_table(tables::operators(&event.operators))?;
    if let Some(text) = effort_text(&event.effort) {
        report.result(text)?;
    }
    if event.unsupported.is_empty() {
        return Ok(());
    }
    report.result_table(tables::unsupported(&event.unsupported))?;
    Err(Exit::refused(
        format_args!("{source}: {} of its nodes cannot be loaded", event.unsupported.len()),
        "export the model without them; README.md and docs/node-tests.md list what is supported",
    ))
}

fn event<'a>(source: &'a str, inspection: &'a Inspection, effort: Effort) -> Inspect<'a> {
    let shapes: BTreeMap<&str, &[u64]> = (inspection.graph.iter())
        .flat_map(|graph| graph.outputs())
        .map(|port| (port.name.as_str(), port.dims.as_slice()))
        .collect();
    let output =
        |name: &'a String| InspectedOutput { name, shape: shapes.get(name.as_str()).copied() };
    Inspect {
        source,
        inputs: (inspection.inputs.iter()).map(|(name, shape)| Port { name, shape }).collect(),
        outputs: inspection.outputs.iter().map(output).collect(),
        operators: (inspection.operators.iter())
            .map(|operator| InspectedOperator {
                name: &operator.name,
                count: operator.count,
                split: operator.split,
            })
            .collect(),
        unsupported: (inspection.refusals.iter())
            .map(|refusal| Unsupported {
                node: &refusal.node,
                operator: &refusal.operator,
                reason: refusal.problem.to_string(),
            })
            .collect(),
        effort,
    }
}

/// What a graph takes on one device.
fn effort(graph: &Graph) -> Result<Effort, Exit> {
    let mut by_split = BySplit::default();
    for id in graph.layer_ids() {
        let flops = Work::of(graph, id, graph.output_shape(id).region()).flops / 1e9;
        let split = graph.layer(id).op.split(graph.input_shapes(id).first().copied());
        *match split {
            Split::Rows => &mut by_split.rows,
            Split::Features => &mut by_split.features,
            Split::Whole => &mut by_split.whole,
        } += flops;
    }
    let layers = graph.layers().len();
    let derivation = derive(graph, &Plan::alone(layers as u32));
    let derivation = derivation.map_err(|error| {
        Exit::failed(error, "please report this bug: the plan of one device is invalid")
    })?;
    let need = derivation.programs.first();
    Ok(Effort {
        layers: Some(layers),
        gflop: Some(by_split.rows + by_split.features + by_split.whole),
        gflop_by_split: Some(by_split),
        weights_bytes: Some(graph.weights_bytes()),
        memory_bytes: need.map(|program| memory(graph, program, InFlight::ONE).total()),
    })
}

/// Inputs and outputs, one a line.
fn ports_text(event: &Inspect<'_>) -> String {
    let input = |port: &Port<'_>| format!("input   {}: {:?}", port.name, port.shape);
    let output = |output: &InspectedOutput<'_>| match output.shape {
        Some(shape) => format!("output  {}: {shape:?}", output.name),
        None => format!("output  {}", output.name),
    };
    let lines = event.inputs.iter().map(input).chain(event.outputs.iter().map(output));
    lines.collect::<Vec<_>>().join("\n")
}

fn effort_text(effort: &Effort) -> Option<String> {
    let (layers, gflop, by_split) = (effort.layers?, effort.gflop?, effort.gflop_by_split?);
    let (weights, memory) = (Bytes(effort.weights_bytes?), effort.memory_bytes?);
    let part = |part: f64| 100.0 * part / gflop.max(f64::MIN_POSITIVE);
    Some(format!(
        "{layers} layers, {gflop:.2} GFLOP: {:.1} % can be split by rows, {:.1} % by features, \
         {:.1} % runs whole\n{weights} of weights; {memory} on one device",
        part(by_split.rows),
        part(by_split.features),
        part(by_split.whole),
    ))
}
