//! Starts and ends a server.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use edgeld_runtime::cost::graph_flops;
use edgeld_runtime::solve::Policy;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::feed::{Feed, Happened, ModelEntry};
use super::metrics::Metrics;
use super::model::{Served, Specification};
use super::observer::Observer;
use super::pressure::{self, Pressure};
use super::site::Site;
use super::{grpc, http};
use crate::api::{Event, LoadError, LoadOptions, Source};
use crate::cluster::Cluster;
use crate::task::{HeadError, Task};

/// How a server listens, and what it accepts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens for HTTP; port 0 is any free one.
    pub http: SocketAddr,
    /// Where it listens for gRPC, if anywhere.
    pub grpc: Option<SocketAddr>,
    /// What requests have to carry as `Authorization: Bearer TOKEN`, except those about its health.
    pub token: Option<String>,
    /// How many requests may wait for each model.
    pub queue: usize,
    /// How long a request may wait for its turn.
    pub deadline: Duration,
    /// How long the body of a request may take to come.
    pub body_patience: Duration,
    /// Which plans may be chosen.
    pub policy: Policy,
    /// Whether plans are for many answers a second while requests queue, and for soon ones while they
    /// come alone; without it they are what the policy says.
    pub follows_load: bool,
}

impl Default for Options {
    /// On loopback at the ports that Triton has, for everyone there.
    fn default() -> Options {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Options {
            http: loopback(8000),
            grpc: Some(loopback(8001)),
            token: None,
            queue: 32,
            deadline: Duration::from_secs(10),
            body_patience: Duration::from_secs(30),
            policy: Policy::default(),
            follows_load: true,
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nothing to serve.
    #[error("there is no model to serve")]
    NoModels,
    /// Two models have one name, or a name is empty or has a `/`.
    #[error("{0:?} cannot be a model's name: it is empty, has a slash, or another model has it")]
    Name(String),
    /// A model cannot be loaded.
    #[error("{name}: {error}")]
    Load {
        /// The model.
        name: String,
        /// Why not.
        error: Box<LoadError>,
    },
    /// A model is not the detector that it is said to be.
    #[error("{name}: {error}")]
    Task {
        /// The model.
        name: String,
        /// Why not.
        error: HeadError,
    },
    /// It cannot listen there.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's error.
        error: std::io::Error,
    },
}

/// HTTP, which ends when this is dropped.
struct HttpServer(ServerHandle);

impl Drop for HttpServer {
    fn drop(&mut self) {
        // Nothing waits for it: it ends in its own time.
        drop(self.0.stop(false));
    }
}

/// A server before a cluster. It serves until it is [stopped](Server::stop); if it is dropped, requests
/// that are under way may end without an answer.
pub struct Server {
    http: SocketAddr,
    grpc: Option<SocketAddr>,
    site: Arc<Site>,
    stop: watch::Sender<bool>,
    http_server: HttpServer,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Loads models on a cluster and serves them.
    ///
    /// Call it in a runtime of tokio or actix; that runtime runs gRPC, HTTP has threads of its own.
    ///
    /// # Errors
    /// When a model cannot be loaded, or an address cannot be listened on.
    pub async fn start(
        cluster: &Cluster,
        models: Vec<Specification>,
        options: Options,
    ) -> Result<Server, StartError> {
        check_names(&models)?;
        let (stop, stopping) = watch::channel(false);
        let (metrics, feed) = (Arc::new(Metrics::new()), Arc::new(Feed::new()));
        let mut served: Vec<Arc<Served>> = Vec::new();
        let mut tasks = Vec::new();
        for specification in models {
            let name = specification.name.clone();
            let source: Source = specification.source();
            let load = LoadOptions { policy: options.policy, ..LoadOptions::default() };
            let model = cluster.load_with(source, load).await;
            let model = model
                .map_err(|error| StartError::Load { name: name.clone(), error: Box::new(error) })?;
            let observer = Observer {
                model: name.clone(),
                feed: feed.clone(),
                metrics: metrics.clone(),
                plans: model.watch_plans(),
                tells_devices: served.is_empty(),
            };
            tasks.push(tokio::spawn(observer.run(model.subscribe())));
            let limits = (options.queue, options.deadline);
            let one = Served::new(specification, model, limits, metrics.clone(), feed.clone());
            served.push(Arc::new(one.map_err(|error| StartError::Task { name, error })?));
        }
        if options.follows_load {
            tasks.extend(
                served.iter().map(|one| tokio::spawn(follow(one.clone(), stopping.clone()))),
            );
        }
        feed.tell(&Happened::Models { models: served.iter().map(|one| entry(one)).collect() });
        let site = Arc::new(Site {
            models: served,
            metrics,
            feed,
            token: options.token.map(|token| blake3::hash(token.as_bytes())),
            body_patience: options.body_patience,
            stopping,
        });
        let refused = |address| move |error| StartError::Listen { address, error };
        let grpc = match options.grpc {
            None => None,
            Some(address) => {
                let (bound, serve) = grpc::listen(address).await.map_err(refused(address))?;
                tasks.push(tokio::spawn(serve(&site)));
                Some(bound)
            }
        };
        let (http, serving) = http::listen(&site, options.http).map_err(refused(options.http))?;
        let http_server = HttpServer(serving.handle());
        tasks.push(tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!("http: {error}");
            }
        }));
        Ok(Server { http, grpc, site, stop, http_server, tasks })
    }

    /// Where it listens for HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it listens for gRPC, if it does.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// What the first model reports: the devices, its plans, then every change.
    pub fn subscribe(&self) -> UnboundedReceiver<Event> {
        // A server without models does not start.
        self.site.models[0].model.subscribe()
    }

    /// Accepts no more requests, and ends when those that were accepted are answered.
    pub async fn stop(self) {
        let Server { site, stop, http_server, tasks, .. } = self;
        site.models.iter().for_each(|served| served.queue.close());
        // Streams of events end, and gRPC accepts no more.
        stop.send_replace(true);
        http_server.0.stop(true).await;
        // The last of them hold the models, which end the observers.
        drop(site);
        for task in tasks {
            // It was not cancelled, and a panic has been reported.
            let _ = task.await;
        }
    }
}

/// Has plans follow what a model's queue is like, until the server ends.
async fn follow(served: Arc<Served>, mut stopping: watch::Receiver<bool>) {
    let mut pressure = Pressure::new();
    // The sender lives as long as the server.
    while timeout(pressure::PERIOD, stopping.wait_for(|stopping| *stopping)).await.is_err() {
        if let Some(objective) = pressure.look(Instant::now(), served.queue.lengths()) {
            served.model.pursue(objective);
        }
    }
}

fn check_names(models: &[Specification]) -> Result<(), StartError> {
    if models.is_empty() {
        return Err(StartError::NoModels);
    }
    let mut names = BTreeSet::new();
    let is_bad = |name: &String| name.is_empty() || name.contains('/');
    let bad =
        models.iter().map(|model| &model.name).find(|name| is_bad(name) || !names.insert(*name));
    bad.map_or(Ok(()), |name| Err(StartError::Name(name.clone())))
}

fn entry(served: &Served) -> ModelEntry<'_> {
    let graph = served.model.graph();
    ModelEntry {
        name: &served.name,
        task: match served.task() {
            Task::Raw => "raw",
            Task::Classify => "classify",
            Task::Detect => "detect",
        },
        takes_pictures: served.picture().is_some(),
        gflop: graph_flops(graph).giga(),
        weights_bytes: graph.weights_bytes(),
    }
}
