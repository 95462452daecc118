//! What a file holds, and everything that it needs and this project lacks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::error::OnnxError;
use super::loader::{Loaded, Refusal};
use super::shapes::InputShapes;
use super::{OnnxModel, decoded, finished, loader, stored};
use crate::graph::{Graph, Split};

/// How often a file uses an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorUse {
    /// ONNX's name for it.
    pub name: String,
    /// How many nodes.
    pub count: usize,
    /// How its layers may be divided, by the one that can least; by rows if it needs none.
    pub split: Split,
}

impl OperatorUse {
    /// Counts one more node or layer, by the operator's name.
    pub(crate) fn count(operators: &mut BTreeMap<String, OperatorUse>, name: &str, split: Split) {
        let entry = operators.entry(name.to_owned());
        let none = || OperatorUse { name: name.to_owned(), count: 0, split };
        let entry = entry.or_insert_with(none);
        entry.count += 1;
        entry.split = entry.split.max(split);
    }
}

/// What a file holds.
#[derive(Debug)]
pub struct Inspection {
    /// Names and dimensions of the inputs that are read.
    pub inputs: Vec<(String, Vec<u64>)>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// The graph, if everything is supported.
    pub graph: Option<Arc<Graph>>,
    /// The operators of nodes that can be loaded, by name.
    pub operators: Vec<OperatorUse>,
    /// All nodes that cannot be, in order. Of a node behind one of these nothing is known but
    /// whether its operator is supported at all.
    pub refusals: Vec<Refusal>,
}

/// Looks at a file and finds every node that cannot be loaded, not only the first one.
///
/// # Errors
/// When the file cannot be read, is not an ONNX model, or its inputs or outputs are not supported.
pub(crate) fn inspect(path: &Path, shapes: &InputShapes) -> Result<Inspection, OnnxError> {
    let storage = stored(path)?;
    let file = storage.path().to_owned();
    let model = decoded(&storage)?;
    let mut loader = loader(&model, storage)?;
    loader.load(&file, shapes)?;
    let mut operators: BTreeMap<String, OperatorUse> = BTreeMap::new();
    for Loaded { operator, layers } in std::mem::take(&mut loader.loaded) {
        OperatorUse::count(&mut operators, &operator, loader.import.split(layers));
    }
    let refusals = std::mem::take(&mut loader.refusals);
    let inputs = loader.import.inputs.clone();
    let outputs = model.graph.iter().flat_map(|graph| &graph.output);
    let outputs = outputs.map(|output| output.name.clone()).collect();
    let graph = match refusals.is_empty() {
        true => {
            let OnnxModel { graph, .. } = finished(loader, &model, file)?;
            Some(graph)
        }
        false => None,
    };
    let operators = operators.into_values().collect();
    Ok(Inspection { inputs, outputs, graph, operators, refusals })
}
