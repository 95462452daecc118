//! Models from ONNX files.
//!
//! A file is loaded in three steps. `slim.rs` walks its bytes and leaves out the weights, noting
//! where they are. prost decodes the rest into the structs of `proto.rs`. Then every node that
//! contributes to an output is loaded, in order (`loader.rs`), by its operator's function (all are
//! listed in [`operators`]) into a graph under construction (`import.rs`). Weights are read from the file
//! when somebody asks for rows of them, never earlier and never all at once; only what has to be
//! transposed, converted or computed is kept in memory.
//!
//! No file can cause a panic, or an allocation that the file does not back with bytes.

mod constant;
mod error;
mod fold;
mod general;
mod import;
mod inline;
mod inspect;
mod loader;
mod node;
mod nodes;
pub mod operators;
mod ports;
mod proto;
mod rows;
mod shapes;
mod slim;
mod sort;
mod storage;
mod tensor;
#[cfg(test)]
mod tests;
mod transposed;
mod weights;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;

pub use error::{OnnxError, Problem};
pub(crate) use inspect::inspect;
pub use inspect::{Inspection, OperatorUse};
pub use loader::Refusal;
pub use shapes::InputShapes;

use self::loader::{Loader, is_own};
use self::proto::ModelProto;
use self::storage::Storage;
use self::tensor::Files;
use self::weights::FileWeights;
use crate::graph::Graph;
use crate::weights::WeightSource;

/// The newest version of ONNX's operator set that the loaders know.
const NEWEST_OPSET: i64 = 26;

/// A model as its file describes it.
#[derive(Clone)]
pub(crate) struct OnnxModel {
    /// What it computes.
    pub(crate) graph: Arc<Graph>,
    /// Where its weights come from.
    pub(crate) weights: Arc<dyn WeightSource>,
    /// The properties that the file gives about itself.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The file.
    pub(crate) file: PathBuf,
}

impl fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnnxModel({})", self.file.display())
    }
}

/// Opens a model file; `shapes` fix the dynamic dimensions of its inputs.
///
/// # Errors
/// When the file cannot be read, is not an ONNX model, or needs something that is not supported.
pub(crate) fn open(path: &Path, shapes: &InputShapes) -> Result<OnnxModel, OnnxError> {
    load(stored(path)?, shapes)
}

/// Opens a model that is part of the program; `name` takes the place of its path.
///
/// # Errors
/// As [`open`].
pub(crate) fn from_bytes(
    name: &str,
    bytes: &'static [u8],
    shapes: &InputShapes,
) -> Result<OnnxModel, OnnxError> {
    load(Storage::memory(name, bytes), shapes)
}

fn stored(path: &Path) -> Result<Storage, OnnxError> {
    Storage::open(path).map_err(|source| OnnxError::Io { file: path.to_owned(), source })
}

fn load(storage: Storage, shapes: &InputShapes) -> Result<OnnxModel, OnnxError> {
    let file = storage.path().to_owned();
    let model = decoded(&storage)?;
    let mut loader = loader(&model, storage)?;
    loader.load(&file, shapes)?;
    if let Some(refusal) = loader.refusals.drain(..).next() {
        return Err(refusal.into_error(file));
    }
    finished(loader, &model, file)
}

/// The model that a file holds, without its weights and with its functions inlined.
fn decoded(storage: &Storage) -> Result<ModelProto, OnnxError> {
    let file = storage.path();
    let malformed = |what: String| OnnxError::Malformed { file: file.to_owned(), what };
    let bytes = slim::slim(storage).map_err(|error| malformed(error.to_string()))?;
    let mut model = ModelProto::decode(&*bytes).map_err(|error| malformed(error.to_string()))?;
    let found = opset(&model);
    if found > NEWEST_OPSET {
        let newest = NEWEST_OPSET;
        return Err(OnnxError::Opset { file: file.to_owned(), found, newest });
    }
    inline::functions(&mut model).map_err(|what| malformed(what.to_owned()))?;
    if let Some(graph) = &mut model.graph {
        sort::topologically(graph);
    }
    Ok(model)
}

/// What will load a decoded model.
fn loader(model: &ModelProto, storage: Storage) -> Result<Loader<'_>, OnnxError> {
    let file = storage.path().to_owned();
    let name = file.file_stem().map_or("model".into(), |stem| stem.to_string_lossy());
    let Some(graph) = model.graph.as_ref() else {
        let what = "there is no graph".to_owned();
        return Err(OnnxError::Malformed { file: file.clone(), what });
    };
    Ok(Loader::new(&name, graph, opset(model), Files::new(Arc::new(storage))))
}

/// The model of a loader that has loaded every node.
fn finished(
    mut loader: Loader<'_>,
    model: &ModelProto,
    file: PathBuf,
) -> Result<OnnxModel, OnnxError> {
    let properties = model.metadata_props.iter();
    let metadata = properties.map(|property| (property.key.clone(), property.value.clone()));
    let outputs = loader.outputs(&file)?;
    let (graph, parameters) = loader
        .import
        .finish(outputs)
        .map_err(|source| OnnxError::Graph { file: file.clone(), source })?;
    Ok(OnnxModel {
        graph: Arc::new(graph),
        weights: Arc::new(FileWeights::new(parameters)),
        metadata: metadata.collect(),
        file,
    })
}

/// The version of ONNX's own operator set; the oldest files do not state it.
fn opset(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().find(|import| is_own(&import.domain));
    own.map_or(1, |import| import.version)
}
