//! What a model is, however it was opened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::preset::Preset;
use crate::graph::Graph;
use crate::onnx::InputShapes;
use crate::weights::WeightSource;

/// A model that can be run.
#[derive(Clone)]
pub struct Model {
    /// What it computes.
    pub graph: Arc<Graph>,
    /// Where its weights come from.
    pub weights: Arc<dyn WeightSource>,
    /// How pictures are prepared for it, if known.
    pub preset: Option<Preset>,
    /// The properties that its file gives about itself.
    pub metadata: BTreeMap<String, String>,
    /// Where it came from: a path, or `built-in`.
    pub source: String,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} from {})", self.graph.name(), self.source)
    }
}

/// Options for opening a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// Fixes the dynamic dimensions of the model's inputs: `[1, 3, 224, 224]`.
    pub input_shapes: InputShapes,
}
