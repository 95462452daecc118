//! A model loaded on a cluster: inputs in, answers out.

use std::sync::Arc;

use actix::Addr;
use edgeld_runtime::graph::Graph;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::Objective;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use crate::api::{Answer, Event, InferError, Input, PlanInfo, Source};
use crate::pipeline::{Close, Infer, PipelineActor, Pursue, Subscribe};

/// A model loaded on a cluster. Dropping the last clone ends its session and frees its memory on
/// all devices.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    session: Addr<PipelineActor>,
    plans: watch::Receiver<Vec<Arc<PlanInfo>>>,
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
        plans: watch::Receiver<Vec<Arc<PlanInfo>>>,
        first: Arc<PlanInfo>,
    ) -> Model {
        Model { inner: Arc::new(Inner { source, session, plans, first }) }
    }

    /// The model's layers.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.inner.source.graph
    }

    /// Runs one inference. Calls may overlap; they are answered in order.
    ///
    /// # Errors
    /// When an input does not fit the model, or the frame failed on every attempt.
    pub async fn infer(&self, inputs: &[Input]) -> Result<Answer, InferError> {
        check(&self.inner.source, inputs)?;
        let answer = self.inner.session.send(Infer(inputs.to_vec())).await;
        answer.unwrap_or(Err(InferError::Closed))
    }

    /// The active plan; the first, if several run side by side.
    pub fn plan(&self) -> Arc<PlanInfo> {
        self.inner.plans.borrow().first().unwrap_or(&self.inner.first).clone()
    }

    /// All active plans. There are several for [`Objective::Throughput`], where each frame runs under
    /// one of them.
    ///
    /// [`Objective::Throughput`]: edgeld_runtime::solve::Objective::Throughput
    pub fn plans(&self) -> Vec<Arc<PlanInfo>> {
        self.inner.plans.borrow().clone()
    }

    /// The active plans, as they change, for whoever must not keep the session open.
    #[cfg(feature = "serve")]
    pub(crate) fn watch_plans(&self) -> watch::Receiver<Vec<Arc<PlanInfo>>> {
        self.inner.plans.clone()
    }

    /// Chooses plans by another objective from now on: whether single answers are to come soon, or
    /// many in a second. Frames go on meanwhile; the change comes when it pays.
    pub fn pursue(&self, objective: Objective) {
        self.inner.session.do_send(Pursue(objective));
    }

    /// The current devices and plan, then every later event.
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
    for ((port, input), index) in ports.iter().zip(inputs).zip(0..) {
        let elements = source.graph.shape(port.tensor).elements();
        let encoding = source.encodings.get(index).copied().unwrap_or(Encoding::F32);
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
