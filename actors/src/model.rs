//! A model on a cluster: inputs in, answers out.

use std::sync::Arc;

use actix::Addr;
use edgeld_runtime::graph::Graph;
use edgeld_runtime::models;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::Policy;
use edgeld_runtime::weights::WeightSource;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use crate::error::{InferError, LoadError};
use crate::face::{Answer, Event, Input, PlanInfo};
use crate::pipeline::{Close, Infer, PipelineActor, Subscribe};

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

/// A model that a cluster runs. When the last clone is dropped its session ends and its memory is
/// freed everywhere.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    session: Addr<PipelineActor>,
    plan: watch::Receiver<Option<Arc<PlanInfo>>>,
    first: Arc<PlanInfo>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.session.do_send(Close);
    }
}

impl Model {
    pub(crate) fn new(
        source: Source,
        session: Addr<PipelineActor>,
        plan: watch::Receiver<Option<Arc<PlanInfo>>>,
        first: Arc<PlanInfo>,
    ) -> Model {
        Model { inner: Arc::new(Inner { source, session, plan, first }) }
    }

    /// The model's layers.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.inner.source.graph
    }

    /// One inference. Frames are answered in the order they were asked for; several may be asked
    /// for at once.
    ///
    /// # Errors
    /// When an input is not what the model takes, or the frame failed on every attempt.
    pub async fn infer(&self, inputs: &[Input]) -> Result<Answer, InferError> {
        check(&self.inner.source, inputs)?;
        let answer = self.inner.session.send(Infer(inputs.to_vec())).await;
        answer.unwrap_or(Err(InferError::Closed))
    }

    /// The plan that runs now.
    pub fn plan(&self) -> Arc<PlanInfo> {
        self.inner.plan.borrow().clone().unwrap_or_else(|| self.inner.first.clone())
    }

    /// Everything that happens from now on, after the present devices and plan.
    pub fn subscribe(&self) -> UnboundedReceiver<Event> {
        let (events, receiver) = unbounded_channel();
        self.inner.session.do_send(Subscribe(events));
        receiver
    }
}

fn check(source: &Source, inputs: &[Input]) -> Result<(), InferError> {
    let ports = source.graph.inputs();
    if inputs.len() != ports.len() {
        return Err(InferError::InputCount { found: inputs.len(), wanted: ports.len() });
    }
    for ((port, input), at) in ports.iter().zip(inputs).zip(0..) {
        let elements = source.graph.shape(port.tensor).elements();
        let encoding = source.encodings.get(at).copied().unwrap_or(Encoding::F32);
        let kind_fits = matches!(
            (encoding, input),
            (Encoding::Pixels { .. }, Input::Pixels(_)) | (Encoding::F32, Input::Values(_))
        );
        if !kind_fits || input.len() as u64 != elements {
            let wanted = match encoding {
                Encoding::Pixels { .. } => "u8 pixels",
                Encoding::F32 => "float32 values",
            };
            let found = match input {
                Input::Pixels(_) => "u8 pixels",
                Input::Values(_) => "float32 values",
            };
            return Err(InferError::Input {
                name: port.name.clone(),
                found: format!("{} {found}", input.len()),
                wanted: format!("{elements} {wanted}"),
            });
        }
    }
    Ok(())
}
