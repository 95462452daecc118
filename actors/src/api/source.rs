//! What a cluster loads, and how.

use std::sync::Arc;

use edgeld_runtime::graph::Graph;
use edgeld_runtime::models;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::Policy;
use edgeld_runtime::weights::WeightSource;

use super::error::LoadError;

/// A model to load: its layers, its weights, and how its inputs are encoded.
#[derive(Clone)]
pub struct Source {
    /// The layers.
    pub graph: Arc<Graph>,
    /// The weights; read when a program is prepared or a worker fetches them.
    pub weights: Arc<dyn WeightSource>,
    /// How each input of the graph is encoded on the wire.
    pub encodings: Vec<Encoding>,
}

impl From<models::Model> for Source {
    /// Inputs are sent as pixels if the model specifies its preprocessing, else as float32.
    fn from(model: models::Model) -> Source {
        let encoding = model.preset.map_or(Encoding::F32, |preset| preset.encoding());
        let encodings = vec![encoding; model.graph.inputs().len()];
        Source { graph: model.graph, weights: model.weights, encodings }
    }
}

/// What a cluster can load.
pub trait IntoSource {
    /// Opens it.
    ///
    /// # Errors
    /// When the model does not exist or is malformed.
    fn into_source(self) -> Result<Source, LoadError>;
}

impl IntoSource for Source {
    fn into_source(self) -> Result<Source, LoadError> {
        Ok(self)
    }
}

impl IntoSource for models::Model {
    fn into_source(self) -> Result<Source, LoadError> {
        Ok(self.into())
    }
}

impl IntoSource for &str {
    /// A model file, or a built-in model such as `vgg16?size=448`.
    fn into_source(self) -> Result<Source, LoadError> {
        Ok(models::open(self, &models::Options::default())?.into())
    }
}

/// How to run a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Run the whole model on this device only.
    pub alone: bool,
    /// Expected number of frames, if known: with few, this device may be done before the others
    /// have their weights.
    pub frames: Option<u64>,
    /// Which plans the planner may choose.
    pub policy: Policy,
    /// Whether plans are explained ([`PlanInfo::explanation`](super::plan::PlanInfo)). Planning then
    /// takes three times as long, since it is also done for what is not there.
    pub explain: bool,
    /// Whether devices report when each step of a frame ran
    /// ([`Event::Trace`](super::event::Event)).
    pub trace: bool,
}
