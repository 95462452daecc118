//! What a cluster loads, and how.

use std::sync::Arc;

use edgeld_runtime::graph::Graph;
use edgeld_runtime::models;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::Policy;
use edgeld_runtime::weights::WeightSource;

use super::error::LoadError;

/// A model as it is loaded: its layers, where its weights are, how its inputs travel.
#[derive(Clone)]
pub struct Source {
    /// The layers.
    pub graph: Arc<Graph>,
    /// The weights; read when a program is prepared, and by workers that lack them.
    pub weights: Arc<dyn WeightSource>,
    /// How every input of the graph travels, in their order.
    pub encodings: Vec<Encoding>,
}

impl From<models::Model> for Source {
    /// Inputs travel as pixels where the model says how its pictures are prepared, else as
    /// float32.
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
    /// When there is no such model, or it is malformed.
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

/// How a model is run.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Whole on this device, whoever else there is: the one-device answer.
    pub alone: bool,
    /// How many frames there will be, where that is known: few frames may be done on this device
    /// before the others have their weights.
    pub frames: Option<u64>,
    /// Which plans may be chosen from.
    pub policy: Policy,
}
