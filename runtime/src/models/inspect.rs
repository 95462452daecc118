//! Looks at models without refusing them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::Options;
use super::open::{OpenError, file, open};
use crate::graph::Graph;
use crate::onnx::{self, Inspection, OperatorUse};

/// Looks at a model and finds everything of it that is not supported, not only the first thing.
///
/// # Errors
/// As [`open`], except for nodes that cannot be loaded.
pub fn inspect(spec: &str, options: &Options) -> Result<Inspection, OpenError> {
    if let Some(path) = file(spec) {
        return Ok(onnx::inspect(path, &options.input_shapes)?);
    }
    Ok(of_graph(open(spec, options)?.graph))
}

/// A built-in model; its operators are the layers of its graph.
fn of_graph(graph: Arc<Graph>) -> Inspection {
    let mut operators = BTreeMap::new();
    for id in graph.layer_ids() {
        let op = &graph.layer(id).op;
        let split = op.split(graph.input_shapes(id).first().copied());
        OperatorUse::count(&mut operators, op.name(), split);
    }
    let ports = |port: &crate::graph::Port| (port.name.clone(), port.dims.clone());
    Inspection {
        inputs: graph.inputs().iter().map(ports).collect(),
        outputs: graph.outputs().iter().map(|port| port.name.clone()).collect(),
        operators: operators.into_values().collect(),
        refusals: Vec::new(),
        graph: Some(graph),
    }
}
