//! From settings to a cluster: this device is started, the others are found and measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeld_runtime::kernel::{Isa, KernelKind};
use edgeld_runtime::units::{Bytes, Ms};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{oneshot, watch};

use super::actor_thread::ActorThread;
use super::handle::{Cluster, Inner};
use crate::api::{ClusterError, DeviceInfo, DeviceState};
use crate::discovery::{
    DiscoveryActor, FailedPeers, Mdns, Peers, QueryFailures, Scope, Sighted, Sources,
};
use crate::transport::{Network, Security, Settings, Switchboard, Tcp, Transport, TransportError};
use crate::worker::{Device, DeviceOptions, Pace, WorkerActor, accept};

/// How long a leader looks around when it is not told how many devices there are.
const DISCOVERY_WINDOW: Duration = Duration::from_secs(2);

/// How long it waits for as many devices as it was told.
const DEVICES_WAIT: Duration = Duration::from_secs(30);

/// How long devices that were found in the window may still take to be measured.
const MEASURING: Duration = Duration::from_secs(6);

/// What a leader is told before it looks around.
#[derive(Clone)]
pub struct Builder {
    name: String,
    device_name: Option<String>,
    devices: Option<usize>,
    wait: Option<Duration>,
    peers: Vec<String>,
    alone: bool,
    mdns: bool,
    key_file: Option<PathBuf>,
    insecure: bool,
    threads: Option<usize>,
    pace: Pace,
    memory: Option<Bytes>,
    isa: Option<Isa>,
    kernels: KernelKind,
    home: Option<PathBuf>,
    transport: Option<Arc<dyn Transport>>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            name: crate::api::DEFAULT_CLUSTER.to_owned(),
            device_name: None,
            devices: None,
            wait: None,
            peers: Vec::new(),
            alone: false,
            mdns: true,
            key_file: None,
            insecure: false,
            threads: None,
            pace: Pace::FULL,
            memory: None,
            isa: None,
            kernels: KernelKind::Fast,
            home: None,
            transport: None,
        }
    }
}

impl Cluster {
    /// Starts to describe a cluster.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Name of the cluster: only devices of this name work together.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// This device's name, for people; the host's name otherwise.
    pub fn device_name(mut self, name: impl Into<String>) -> Builder {
        self.device_name = Some(name.into());
        self
    }

    /// Waits for this many devices in all, this one included. Without it, what is found within a
    /// window of two seconds is taken, and the frames are answered, alone if need be.
    pub fn devices(mut self, devices: usize) -> Builder {
        self.devices = Some(devices);
        self
    }

    /// How long to wait for [`devices`](Builder::devices) (thirty seconds otherwise), or how long
    /// the window is.
    pub fn wait(mut self, wait: Duration) -> Builder {
        self.wait = Some(wait);
        self
    }

    /// A device at `host:port`, for networks that multicast does not cross. May be repeated.
    pub fn peer(mut self, address: impl Into<String>) -> Builder {
        self.peers.push(address.into());
        self
    }

    /// Looks for nobody: this device is the cluster.
    pub fn alone(mut self) -> Builder {
        self.alone = true;
        self
    }

    /// Whether to look for devices over mDNS. It does, unless told otherwise.
    pub fn mdns(mut self, mdns: bool) -> Builder {
        self.mdns = mdns;
        self
    }

    /// The file with the cluster's key, as `edgeld key new` makes it: only devices that have it take
    /// part, and all that they say is encrypted.
    pub fn key_file(mut self, file: impl Into<PathBuf>) -> Builder {
        self.key_file = Some(file.into());
        self
    }

    /// Whether devices beyond loopback may take part without a key, whoever they are.
    pub fn insecure(mut self, insecure: bool) -> Builder {
        self.insecure = insecure;
        self
    }

    /// Threads to compute on; all cores otherwise.
    pub fn threads(mut self, threads: usize) -> Builder {
        self.threads = Some(threads);
        self
    }

    /// The part of the time in which they compute; all of it otherwise.
    pub fn pace(mut self, pace: Pace) -> Builder {
        self.pace = pace;
        self
    }

    /// Memory this device may use.
    pub fn memory(mut self, memory: Bytes) -> Builder {
        self.memory = Some(memory);
        self
    }

    /// The instructions this device may use, of those that it has; all of them if not called.
    pub fn isa(mut self, isa: Isa) -> Builder {
        self.isa = Some(isa);
        self
    }

    /// Which kernels all devices compute with.
    pub fn kernels(mut self, kernels: KernelKind) -> Builder {
        self.kernels = kernels;
        self
    }

    /// Where identity, weights and profiles are kept; `EDGELD_HOME` or the platform's directories
    /// otherwise.
    pub fn home(mut self, home: impl Into<PathBuf>) -> Builder {
        self.home = Some(home.into());
        self
    }

    /// Another transport than TCP: a simulated network.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Builder {
        self.transport = Some(transport);
        self
    }

    /// Looks around and measures what it finds.
    ///
    /// # Errors
    /// When fewer [`devices`](Builder::devices) than asked for are there in time, or a
    /// [`peer`](Builder::peer) that was named cannot take part.
    pub async fn discover(self) -> Result<Cluster, ClusterError> {
        let (wanted, wait) = (self.devices, self.wait);
        let named = !self.peers.is_empty();
        let quick = self.alone || (named && !self.mdns);
        let expected = if self.alone { 1 } else { 1 + self.peers.len() };
        let cluster = self.start().await?;
        let devices = DeviceWait { cluster: &cluster, begun: Instant::now() };
        match wanted {
            Some(wanted) => devices.all(wanted, wait.unwrap_or(DEVICES_WAIT)).await?,
            None => {
                let known = quick.then_some(expected);
                devices.some(wait.unwrap_or(DISCOVERY_WINDOW), known).await?;
            }
        }
        Ok(cluster)
    }

    /// Starts this device: its own worker over the in-memory transport, and the search for others.
    async fn start(self) -> Result<Cluster, ClusterError> {
        let start = |error: &dyn ToString| ClusterError::Start(error.to_string());
        let security = Security::of(self.key_file.as_deref(), self.insecure)
            .map_err(|error| ClusterError::Key(error.to_string()))?;
        let scope = if security.leaves_machine() { Scope::Lan } else { Scope::Loopback };
        let device = DeviceOptions {
            name: self.device_name,
            cluster: self.name,
            threads: self.threads,
            pace: self.pace,
            memory: self.memory,
            isa: self.isa,
            home: self.home,
        };
        let device = Arc::new(Device::open(&device).map_err(ClusterError::Home)?);
        let transport = self.transport.unwrap_or_else(|| Arc::new(Tcp::default()));
        let network =
            Network::start(transport, device.hello.clone(), security, Settings::default())
                .map_err(|error| start(&error))?;
        let thread = ActorThread::start().map_err(|error| start(&error))?;
        let worker = thread.spawn(WorkerActor::new(device.clone(), network.clone(), None));

        let inside = network.within_process(Arc::new(Switchboard::default().plug("leader")));
        let listener = inside.listen("leader:0").await.map_err(|error| start(&error))?;
        let own = listener.address().to_owned();
        accept(listener, worker.clone(), &network);

        let (sightings, mut seen) = unbounded_channel();
        let mut sources = Sources::default();
        if !self.alone && self.mdns {
            let started = Mdns::start(scope).and_then(|mdns| {
                mdns.browse(&device.hello.cluster, sightings.clone()).map(|()| mdns)
            });
            sources.mdns = started.inspect_err(|error| tracing::warn!("{error}")).ok();
        }
        if !self.alone && !self.peers.is_empty() {
            sources.peers = Some(Peers::watch(&network, &self.peers, &sightings));
        }
        let (shown, devices) = watch::channel(Vec::new());
        let inside = (inside, own);
        let discovery = thread.spawn(DiscoveryActor::new(
            device.clone(),
            network.clone(),
            inside,
            self.kernels,
            shown,
            sources,
        ));
        let sighted = discovery.clone();
        network.spawn(async move {
            while let Some(sighting) = seen.recv().await {
                if sighted.send(Sighted(sighting)).await.is_err() {
                    return;
                }
            }
        });
        let (kernels, patient) = (self.kernels, self.devices.is_some());
        let inner = Inner { device, kernels, patient, network, discovery, worker, devices, thread };
        Ok(Cluster { inner: Arc::new(inner) })
    }
}

/// Waits for devices.
struct DeviceWait<'a> {
    cluster: &'a Cluster,
    begun: Instant,
}

impl DeviceWait<'_> {
    /// Until `wanted` devices are measured.
    async fn all(&self, wanted: usize, wait: Duration) -> Result<(), ClusterError> {
        if self.until(wait, |devices| measured(devices) >= wanted).await {
            return Ok(());
        }
        let FailedPeers { named, seen } = self.failures().await;
        let notes = named.into_iter().chain(seen);
        Err(ClusterError::TooFew {
            // This device is there, measured or not.
            found: measured(&self.cluster.devices()).max(1),
            wanted,
            waited: Ms::from_duration(self.begun.elapsed()),
            notes: notes.map(|(peer, error)| format!("{peer}: {error}")).collect(),
        })
    }

    /// Those that are there within the window, all of them measured; no longer than it takes where
    /// it is known who can be there.
    async fn some(&self, window: Duration, known: Option<usize>) -> Result<(), ClusterError> {
        let enough = |devices: &[DeviceInfo]| known.is_some_and(|known| measured(devices) >= known);
        self.until(window, enough).await;
        if let Some((peer, error)) = self.failures().await.named.into_iter().next() {
            return Err(match error {
                TransportError::Refused { why, .. } => ClusterError::Refused { peer, why },
                error @ TransportError::Elsewhere { .. } => {
                    ClusterError::Refused { peer, why: error.to_string() }
                }
                error => ClusterError::Unreachable { peer, error: error.to_string() },
            });
        }
        let joining = |device: &DeviceInfo| device.state == DeviceState::Joining;
        self.until(MEASURING, |devices| !devices.iter().any(joining)).await;
        Ok(())
    }

    async fn until(&self, wait: Duration, enough: impl Fn(&[DeviceInfo]) -> bool) -> bool {
        let mut devices = self.cluster.inner.devices.clone();
        let waited = devices.wait_for(|devices| enough(devices));
        // The clock of the network thread: the caller may run without one.
        let (tell, told) = oneshot::channel();
        self.cluster.inner.network.spawn(async move {
            tokio::time::sleep(wait).await;
            // Whoever waited may have seen enough.
            let _ = tell.send(());
        });
        tokio::select! {
            seen = waited => seen.is_ok(),
            _ = told => false,
        }
    }

    async fn failures(&self) -> FailedPeers {
        self.cluster.inner.discovery.send(QueryFailures).await.unwrap_or_default()
    }
}

/// Devices that can be planned with.
fn measured(devices: &[DeviceInfo]) -> usize {
    let ready = |device: &&DeviceInfo| {
        matches!(device.state, DeviceState::Idle | DeviceState::Active | DeviceState::Suspect)
    };
    devices.iter().filter(ready).count()
}
