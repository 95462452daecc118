//! A model on a cluster: inputs in, answers out.

use std::sync::Arc;

use edgeld_runtime::graph::Graph;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::Policy;
use edgeld_runtime::weights::WeightSource;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::error::InferError;
use crate::face::{Answer, Event, Input, PlanInfo};

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

/// A request to the machinery behind a [`Model`].
pub(crate) enum Request {
    Infer { inputs: Vec<Input>, answer: oneshot::Sender<Result<Answer, InferError>> },
    Subscribe { events: UnboundedSender<Event> },
}

/// A model that a cluster runs. Dropping it ends its session and frees its memory everywhere.
#[derive(Clone)]
pub struct Model {
    pub(crate) graph: Arc<Graph>,
    pub(crate) requests: UnboundedSender<Request>,
    pub(crate) plan: tokio::sync::watch::Receiver<Arc<PlanInfo>>,
}

impl Model {
    /// The model's layers.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// One inference. Frames are answered in the order they were asked for; several may be asked
    /// for at once.
    ///
    /// # Errors
    /// When an input is not what the model takes, or the frame failed on every attempt.
    pub async fn infer(&self, inputs: &[Input]) -> Result<Answer, InferError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Infer { inputs: inputs.to_vec(), answer };
        self.requests.send(request).map_err(|_| InferError::Closed)?;
        answered.await.map_err(|_| InferError::Closed)?
    }

    /// The plan that runs now.
    pub fn plan(&self) -> Arc<PlanInfo> {
        self.plan.borrow().clone()
    }

    /// Everything that happens from now on, after the present devices and plan.
    pub fn subscribe(&self) -> UnboundedReceiver<Event> {
        let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
        // A closed session has nothing to tell: the receiver then ends at once.
        let _ = self.requests.send(Request::Subscribe { events });
        receiver
    }
}
