//! Models from ONNX files.
//!
//! A file is loaded in three steps. `slim.rs` walks its bytes and leaves out the weights, noting
//! where they are. prost decodes the rest into the structs of `proto.rs`. Then every node that
//! contributes to an output is loaded, in order, by its operator's function (all are listed in
//! [`operators`]) into a graph under construction (`import.rs`). Weights are read from the file
//! when somebody asks for rows of them, never earlier and never all at once; only matrices that
//! have to be transposed are kept in memory.
//!
//! No file can cause a panic, or an allocation that the file does not back with bytes.

mod constant;
mod error;
mod fold;
mod import;
mod node;
mod nodes;
pub mod operators;
mod ports;
mod proto;
mod slim;
mod storage;
mod tensor;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;

pub use error::{OnnxError, Problem};

use self::import::{Import, Value, View};
use self::node::{Node, tensor_attributes};
use self::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use self::storage::Storage;
use self::tensor::Files;
use self::weights::FileWeights;
use crate::graph::Graph;
use crate::weights::WeightSource;

/// The metadata property that names the preset for a model's pictures.
const PRESET: &str = "edgeld.preset";

/// How much memory constants computed while loading may take: this many times the file's size,
const MOST_COPIES: u64 = 4;
/// plus this many bytes.
const MOST_EXTRA: u64 = 64 << 20;

/// A model as its file describes it.
#[derive(Clone)]
pub(crate) struct OnnxModel {
    /// What it computes.
    pub(crate) graph: Arc<Graph>,
    /// Where its weights come from.
    pub(crate) weights: Arc<dyn WeightSource>,
    /// The name of the preset for its pictures, if the file has one.
    pub(crate) preset: Option<String>,
    /// The file.
    pub(crate) file: PathBuf,
}

impl fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnnxModel({})", self.file.display())
    }
}

/// Opens a model file; `input_shape` fixes the dynamic dimensions of its inputs.
///
/// # Errors
/// When the file cannot be read, is not an ONNX model, or needs something that is not supported.
pub(crate) fn open(path: &Path, input_shape: Option<&[u64]>) -> Result<OnnxModel, OnnxError> {
    let storage =
        Storage::open(path).map_err(|source| OnnxError::Io { file: path.to_owned(), source })?;
    load(storage, input_shape)
}

/// Opens a model that is part of the program; `name` takes the place of its path.
///
/// # Errors
/// As [`open`].
pub(crate) fn from_bytes(
    name: &str,
    bytes: &'static [u8],
    input_shape: Option<&[u64]>,
) -> Result<OnnxModel, OnnxError> {
    load(Storage::memory(name, bytes), input_shape)
}

fn load(storage: Storage, input_shape: Option<&[u64]>) -> Result<OnnxModel, OnnxError> {
    let file = storage.path().to_owned();
    let malformed = |what: String| OnnxError::Malformed { file: file.clone(), what };
    let bytes = slim::slim(&storage).map_err(|error| malformed(error.to_string()))?;
    let model = ModelProto::decode(&*bytes).map_err(|error| malformed(error.to_string()))?;
    let graph = model.graph.as_ref().ok_or_else(|| malformed("there is no graph".to_owned()))?;
    let preset = model.metadata_props.iter().find(|property| property.key == PRESET);
    let preset = preset.map(|property| property.value.clone());
    let name = file.file_stem().map_or("model".into(), |stem| stem.to_string_lossy());
    let mut loader = Loader {
        graph,
        opset: opset(&model),
        files: Files::new(Arc::new(storage)),
        initializers: graph
            .initializer
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor))
            .collect(),
        readers: HashMap::new(),
        values: HashMap::new(),
        import: Import::new(&name),
    };
    let live = loader.live_nodes();
    loader.inputs(&file, input_shape)?;
    for (index, node) in graph.node.iter().enumerate().filter(|(index, _)| live.contains(index)) {
        loader.node(index, node).map_err(|problem| OnnxError::Node {
            file: file.clone(),
            node: node_name(index, node),
            operator: node.op_type.clone(),
            problem: Box::new(problem),
        })?;
    }
    let outputs = loader.outputs(&file)?;
    let (graph, parameters) = loader
        .import
        .finish(outputs)
        .map_err(|source| OnnxError::Graph { file: file.clone(), source })?;
    Ok(OnnxModel {
        graph: Arc::new(graph),
        weights: Arc::new(FileWeights::new(parameters)),
        preset,
        file,
    })
}

/// The version of ONNX's own operator set; the oldest files do not state it.
fn opset(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().find(|import| is_own(&import.domain));
    own.map_or(1, |import| import.version)
}

fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn node_name(index: usize, node: &NodeProto) -> String {
    if node.name.is_empty() { format!("#{index}") } else { node.name.clone() }
}

struct Loader<'a> {
    graph: &'a GraphProto,
    opset: i64,
    files: Files,
    initializers: HashMap<&'a str, &'a TensorProto>,
    /// How many nodes and outputs read a name.
    readers: HashMap<&'a str, usize>,
    values: HashMap<&'a str, Value>,
    import: Import,
}

impl<'a> Loader<'a> {
    /// The nodes that contribute to an output; also counts the readers of each name.
    fn live_nodes(&mut self) -> HashSet<usize> {
        for output in &self.graph.output {
            *self.readers.entry(&output.name).or_default() += 1;
        }
        let mut live = HashSet::new();
        for (index, node) in self.graph.node.iter().enumerate().rev() {
            if node.output.iter().any(|name| self.readers.contains_key(name.as_str())) {
                live.insert(index);
                for name in node.input.iter().filter(|name| !name.is_empty()) {
                    *self.readers.entry(name).or_default() += 1;
                }
            }
        }
        live
    }

    /// Adds the inputs that are read. Older files list initializers among them.
    fn inputs(&mut self, file: &Path, input_shape: Option<&[u64]>) -> Result<(), OnnxError> {
        for input in &self.graph.input {
            let name = input.name.as_str();
            if self.initializers.contains_key(name) || !self.readers.contains_key(name) {
                continue;
            }
            let view = ports::dimensions(input, input_shape)
                .and_then(|dims| self.import.input(name, dims))
                .and_then(|view| self.define(name, Value::View(view)));
            view.map_err(|problem| port_error(file, "input", name, problem))?;
        }
        Ok(())
    }

    fn outputs(&mut self, file: &Path) -> Result<Vec<(String, View)>, OnnxError> {
        let mut outputs = Vec::new();
        for output in &self.graph.output {
            let name = output.name.as_str();
            let view = self.value(name).and_then(|value| match value {
                Value::View(view) => self.import.output(name, view),
                Value::Constant(_) => Err(Problem::Unsupported("a constant output".to_owned())),
            });
            let view = view.map_err(|problem| port_error(file, "output", name, problem))?;
            outputs.push((name.to_owned(), view));
        }
        Ok(outputs)
    }

    /// Loads one node.
    fn node(&mut self, index: usize, proto: &'a NodeProto) -> Result<(), Problem> {
        let operator = operators::by_name(&proto.op_type)
            .filter(|_| is_own(&proto.domain))
            .ok_or_else(|| Problem::Operator { supported: operators::supported() })?;
        let inputs: Vec<Option<Value>> = proto
            .input
            .iter()
            .map(|name| if name.is_empty() { Ok(None) } else { self.value(name).map(Some) })
            .collect::<Result<_, _>>()?;
        let tensors = tensor_attributes(proto)
            .map(|(name, tensor)| Ok((name, self.files.constant(tensor)?)))
            .collect::<Result<_, Problem>>()?;
        let name = self.import.unique_name(&node_name(index, proto));
        let node = Node { name, opset: self.opset, proto, inputs, tensors };
        let values = (operator.load)(&mut self.import, &node)?;
        let mut values = values.into_iter();
        for name in proto.output.iter().filter(|name| !name.is_empty()) {
            match values.next() {
                Some(value) => self.define(name, value)?,
                None if self.readers.contains_key(name.as_str()) => {
                    return Err(Problem::Unsupported(format!("its output {name:?}")));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Defines what a name stands for.
    fn define(&mut self, name: &'a str, mut value: Value) -> Result<(), Problem> {
        match &mut value {
            Value::View(view) => view.sole &= self.readers.get(name) == Some(&1),
            Value::Constant(constant) => self.import.charge(&constant.data),
        }
        // Enough for a few transposed or converted copies of the weights; only a malicious file
        // needs more.
        let most = self.files.bytes().saturating_mul(MOST_COPIES).saturating_add(MOST_EXTRA);
        if self.import.charged() > most {
            return Err(Problem::Invalid(format!("constants of over {most} bytes in all")));
        }
        match self.values.insert(name, value) {
            None if !self.initializers.contains_key(name) => Ok(()),
            _ => Err(Problem::Redefined(name.to_owned())),
        }
    }

    /// What a name stands for.
    fn value(&mut self, name: &str) -> Result<Value, Problem> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        match self.initializers.get(name) {
            Some(tensor) => Ok(Value::Constant(self.files.constant(tensor)?)),
            None => Err(Problem::Undefined(name.to_owned())),
        }
    }
}

fn port_error(file: &Path, kind: &str, name: &str, problem: Problem) -> OnnxError {
    OnnxError::Port {
        file: PathBuf::from(file),
        port: format!("{kind} {name}"),
        problem: Box::new(problem),
    }
}
