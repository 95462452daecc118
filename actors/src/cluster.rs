//! The library's face: a cluster is found, a model loaded, frames answered.
//!
//! ```no_run
//! # async fn example(source: edgeld::Source, input: edgeld::face::Input)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = edgeld::Cluster::builder().name("home").discover().await?;
//! let model = cluster.load(source).await?;
//! let answer = model.infer(&[input]).await?;
//! println!("{} in {}", answer.outputs[0].data.len(), answer.total);
//! # Ok(())
//! # }
//! ```

use std::path::PathBuf;
use std::time::Duration;

use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::units::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::error::{ClusterError, LoadError};
use crate::face::{DeviceInfo, Event};
use crate::model::{LoadOptions, Model, Source};

/// What a leader is told before it looks around.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) name: String,
    pub(crate) device_name: Option<String>,
    pub(crate) devices: Option<usize>,
    pub(crate) wait: Option<Duration>,
    pub(crate) peers: Vec<String>,
    pub(crate) alone: bool,
    pub(crate) mdns: bool,
    pub(crate) insecure: bool,
    pub(crate) threads: Option<usize>,
    pub(crate) memory: Option<Bytes>,
    pub(crate) kernels: KernelKind,
    pub(crate) home: Option<PathBuf>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            name: crate::DEFAULT_CLUSTER.to_owned(),
            device_name: None,
            devices: None,
            wait: None,
            peers: Vec::new(),
            alone: false,
            mdns: true,
            insecure: false,
            threads: None,
            memory: None,
            kernels: KernelKind::Fast,
            home: None,
        }
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

    /// Whether devices beyond loopback may take part without a key.
    pub fn insecure(mut self, insecure: bool) -> Builder {
        self.insecure = insecure;
        self
    }

    /// Threads to compute on; all cores otherwise.
    pub fn threads(mut self, threads: usize) -> Builder {
        self.threads = Some(threads);
        self
    }

    /// Memory this device may use.
    pub fn memory(mut self, memory: Bytes) -> Builder {
        self.memory = Some(memory);
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

    /// Looks around and measures what it finds.
    ///
    /// # Errors
    /// When fewer [`devices`](Builder::devices) than asked for are there in time, or a
    /// [`peer`](Builder::peer) that was named cannot take part.
    pub async fn discover(self) -> Result<Cluster, ClusterError> {
        Err(ClusterError::Start("the cluster is not part of this build yet".to_owned()))
    }
}

/// The devices that work together, seen from the one that leads. Dropping it, and every model
/// loaded on it, says goodbye to all.
#[derive(Clone)]
pub struct Cluster {
    devices: tokio::sync::watch::Receiver<Vec<DeviceInfo>>,
}

impl Cluster {
    /// Starts to describe a cluster.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its devices, this one first.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        self.devices.borrow().clone()
    }

    /// Everything that happens to its devices from now on, after the present ones: devices,
    /// weights on their way, warnings. Plans are told by [`Model::subscribe`].
    pub fn subscribe(&self) -> UnboundedReceiver<Event> {
        tokio::sync::mpsc::unbounded_channel().1
    }

    /// Loads a model: plans, brings the weights to where they are needed, and returns when frames
    /// can run.
    ///
    /// # Errors
    /// When no plan fits the devices.
    pub async fn load(&self, source: Source) -> Result<Model, LoadError> {
        self.load_with(source, LoadOptions::default()).await
    }

    /// Loads a model with options.
    ///
    /// # Errors
    /// As [`load`](Cluster::load).
    pub async fn load_with(
        &self,
        source: Source,
        options: LoadOptions,
    ) -> Result<Model, LoadError> {
        let _ = (source, options);
        Err(LoadError::Closed)
    }

    /// Says goodbye to all devices and waits until that is done.
    pub async fn shutdown(self) {}
}
