//! A worker: this device, offered to the leaders of its cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use edgeld_runtime::kernel::Isa;
use edgeld_runtime::units::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use super::actor_thread::ActorThread;
use crate::api::{ServeError, WorkerEvent};
use crate::discovery::{Announcement, Mdns, Scope};
use crate::transport::{Network, Security, Settings, Tcp, Transport};
use crate::worker::{CloseSessions, Device, DeviceOptions, Leave, Pace, WorkerActor, accept};

/// The port that a worker tries first.
pub(super) const DEFAULT_PORT: u16 = 7070;

/// How a worker offers its device.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name, for people; the host's name if there is none.
    pub name: Option<String>,
    /// Where it listens: exactly there, port 0 being any free one. `None` is port 7070 or the next
    /// free one, on loopback, or on all interfaces with a key or `insecure`.
    pub listen: Option<SocketAddr>,
    /// Threads to compute on; all cores if there is no number.
    pub threads: Option<usize>,
    /// The part of the time in which they compute.
    pub pace: Pace,
    /// Memory it may use; 80 % of what is available otherwise.
    pub memory: Option<Bytes>,
    /// The instructions it may use, of those that it has; all of them where `None`.
    pub isa: Option<Isa>,
    /// Name of the cluster it belongs to.
    pub cluster: String,
    /// The file with the cluster's key: only devices that have it take part, and all that they say
    /// is encrypted.
    pub key_file: Option<PathBuf>,
    /// Whether it may be reached from the network without a key, by anyone there.
    pub insecure: bool,
    /// Whether it announces itself over mDNS.
    pub mdns: bool,
    /// Where identity, weights and profiles are kept; `EDGELD_HOME` or the platform's directories
    /// if there is none.
    pub home: Option<PathBuf>,
    /// Another transport than TCP: a simulated network.
    pub transport: Option<Arc<dyn Transport>>,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions {
            name: None,
            listen: None,
            threads: None,
            pace: Pace::FULL,
            memory: None,
            isa: None,
            cluster: crate::api::DEFAULT_CLUSTER.to_owned(),
            key_file: None,
            insecure: false,
            mdns: true,
            home: None,
            transport: None,
        }
    }
}

/// How long leaders may take to do without a worker that stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A worker that runs.
pub struct Worker {
    address: String,
    network: Network,
    actor: Addr<WorkerActor>,
    mdns: Option<Mdns>,
    _thread: ActorThread,
}

impl Worker {
    /// Starts one; what happens is sent on `events`.
    ///
    /// # Errors
    /// When it cannot listen or its home cannot be used. A peer, however bad, is never an error
    /// here.
    pub async fn start(
        options: WorkerOptions,
        events: UnboundedSender<WorkerEvent>,
    ) -> Result<Worker, ServeError> {
        let start = |error: &dyn ToString| ServeError::Start(error.to_string());
        let security = Security::of(options.key_file.as_deref(), options.insecure)
            .map_err(|error| ServeError::Key(error.to_string()))?;
        if let Some(address) = options.listen {
            security.check_listening(address).map_err(|_| ServeError::Open { address })?;
        }
        let everywhere = security.leaves_machine();
        let device = DeviceOptions {
            name: options.name,
            cluster: options.cluster,
            threads: options.threads,
            pace: options.pace,
            memory: options.memory,
            isa: options.isa,
            home: options.home,
        };
        let device = Arc::new(Device::open(&device).map_err(ServeError::Home)?);
        let transport = options.transport.unwrap_or_else(|| Arc::new(Tcp::default()));
        let network =
            Network::start(transport, device.hello.clone(), security, Settings::default())
                .map_err(|error| start(&error))?;
        let listener = match (options.listen, everywhere) {
            (Some(address), _) => network.listen(&address.to_string()).await,
            (None, true) => network.listen_from("0.0.0.0", DEFAULT_PORT).await,
            (None, false) => network.listen_from("127.0.0.1", DEFAULT_PORT).await,
        }
        .map_err(|error| ServeError::Listen(error.to_string()))?;
        let thread = ActorThread::start().map_err(|error| start(&error))?;
        let address = listener.address().to_owned();
        let actor = WorkerActor::new(device.clone(), network.clone(), Some(events.clone()));
        let actor = thread.spawn(actor);
        accept(listener, actor.clone(), &network);
        let mdns = address.parse().ok().filter(|_| options.mdns).and_then(|address| {
            let announcement = Announcement { hello: device.hello.clone(), address };
            let started = Mdns::start(Scope::of(address));
            let announced = started.and_then(|mdns| mdns.announce(&announcement).map(|()| mdns));
            announced.inspect_err(|error| tracing::warn!("{error}")).ok()
        });
        if let Ok(address) = address.parse() {
            // Whoever listens to events may have gone; the worker works all the same.
            let _ = events.send(WorkerEvent::Listening {
                id: device.node(),
                name: device.hello.name.clone(),
                address,
                version: crate::api::VERSION,
            });
        }
        Ok(Worker { address, network, actor, mdns, _thread: thread })
    }

    /// Where it is reached, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Says goodbye to all leaders, finishes the frames in flight here and ends: when the leaders have
    /// plans without this device, but after 5 s at the latest.
    pub async fn stop(self) {
        let drained = timeout(DRAIN_TIMEOUT, self.actor.send(Leave));
        let farewell = async {
            if let Some(mdns) = self.mdns {
                mdns.shutdown().await;
            }
        };
        // An actor that is gone has nobody to say goodbye to, and those that do not let go in time are
        // left all the same.
        let _ = tokio::join!(drained, farewell);
        let _ = self.actor.send(CloseSessions).await;
        self.network.shutdown().await;
    }
}
