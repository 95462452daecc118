//! A discovered cluster: its devices, and loading models on it.

use std::sync::Arc;

use actix::Addr;
use edgeld_runtime::kernel::KernelKind;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{oneshot, watch};

use super::actor_thread::ActorThread;
use super::model::Model;
use crate::api::{DeviceInfo, Event, IntoSource, LoadError, LoadOptions};
use crate::discovery::{AttachSession, DiscoveryActor, FailedPeers, QueryFailures, Subscribe};
use crate::pipeline::{self, PipelineActor, Session};
use crate::planner::PlannerOptions;
use crate::storage::new_session;
use crate::transport::Network;
use crate::worker::{Device, WorkerActor};

/// A leader's view of the devices that work together. When it and every model loaded on it are
/// dropped, all sessions and connections are closed.
#[derive(Clone)]
pub struct Cluster {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) device: Arc<Device>,
    pub(super) kernels: KernelKind,
    /// Whether frames wait for all devices even if a short run would be done sooner without them.
    pub(super) patient: bool,
    pub(super) network: Network,
    pub(super) discovery: Addr<DiscoveryActor>,
    pub(super) worker: Addr<WorkerActor>,
    pub(super) devices: watch::Receiver<Vec<DeviceInfo>>,
    pub(super) thread: ActorThread,
}

impl Cluster {
    /// Its devices, this one first.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        self.inner.devices.borrow().clone()
    }

    /// The current devices, then every change to them. Progress of weights is reported here while a
    /// model is loading; after that, and for plans, use [`Model::subscribe`].
    pub fn subscribe(&self) -> UnboundedReceiver<Event> {
        let (events, receiver) = unbounded_channel();
        self.inner.discovery.do_send(Subscribe(events));
        receiver
    }

    /// Devices that were seen but cannot take part, by name or address, and why.
    pub async fn refusals(&self) -> Vec<(String, String)> {
        let FailedPeers { named, seen } =
            self.inner.discovery.send(QueryFailures).await.unwrap_or_default();
        let all = named.into_iter().chain(seen);
        all.map(|(peer, error)| (peer, error.to_string())).collect()
    }

    /// Loads a model: makes a plan, distributes the weights, and returns when frames can run.
    ///
    /// # Errors
    /// When the model cannot be opened, or no plan fits the devices.
    pub async fn load(&self, model: impl IntoSource) -> Result<Model, LoadError> {
        self.load_with(model, LoadOptions::default()).await
    }

    /// Loads a model with options.
    ///
    /// # Errors
    /// Like [`load`](Cluster::load).
    pub async fn load_with(
        &self,
        model: impl IntoSource,
        options: LoadOptions,
    ) -> Result<Model, LoadError> {
        let source = model.into_source()?;
        let id = new_session().map_err(|error| LoadError::Start(error.to_string()))?;
        let (plan, plans) = watch::channel(Vec::new());
        let (loaded, ready) = oneshot::channel();
        let patient = self.inner.patient || options.policy.spread;
        let planner_options = PlannerOptions {
            policy: options.policy,
            explain: options.explain,
            kernels: self.inner.kernels,
            expected_frames: options.frames.filter(|_| !patient),
        };
        let session = self.inner.thread.spawn(PipelineActor::new(Session {
            id,
            device: self.inner.device.clone(),
            worker: self.inner.worker.clone(),
            source: source.clone(),
            planner_options,
            alone: options.alone,
            trace: options.trace,
            plan,
            loaded,
            cluster: self.inner.discovery.clone(),
        }));
        self.inner.discovery.do_send(AttachSession(session.clone().recipient()));
        let result = ready.await.unwrap_or(Err(LoadError::Closed));
        let first = plans.borrow().first().cloned();
        match (result, first) {
            (Ok(()), Some(first)) => Ok(Model::new(source, session, plans, first)),
            (result, _) => {
                session.do_send(pipeline::Close);
                Err(result.err().unwrap_or(LoadError::Closed))
            }
        }
    }

    /// Closes all sessions and connections, and waits until that is done.
    pub async fn shutdown(self) {
        // By the time this is answered, closed sessions have sent their last messages.
        let _ = self.inner.discovery.send(QueryFailures).await;
        self.inner.network.shutdown().await;
    }
}
