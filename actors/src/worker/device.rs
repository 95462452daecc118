//! This device: what its parts share, whether it works, leads or both.

use std::sync::Arc;

use edgeld_runtime::kernel::Isa;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::{Hello, NodeId, PROTOCOL, Purpose};

use super::compute::Pool;
use super::pace::Pace;
use crate::clock::Clock;
use crate::profiler::StallMonitor;
use crate::storage::{Cache, ChunkStore, Home, Identity, new_incarnation};

/// What is left to others of the memory that there is.
const MEMORY_PART: f64 = 0.8;

/// Assumed where the system does not say how much memory there is.
const MEMORY_ASSUMED: Bytes = Bytes(1 << 30);

/// What a device is told about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceOptions {
    /// Its name, for people.
    pub name: Option<String>,
    /// Name of its cluster.
    pub cluster: String,
    /// Threads to compute on.
    pub threads: Option<usize>,
    /// The part of the time in which they compute.
    pub pace: Pace,
    /// Memory it may use.
    pub memory: Option<Bytes>,
    /// The instructions it may use, of those that it has.
    pub isa: Option<Isa>,
    /// Where it keeps what it must remember.
    pub home: Option<std::path::PathBuf>,
}

/// This device.
pub(crate) struct Device {
    /// How it greets.
    pub hello: Hello,
    /// The threads that compute.
    pub pool: Arc<Pool>,
    /// The part of the time in which they do.
    pub pace: Pace,
    /// Weights on disk.
    pub store: Arc<ChunkStore>,
    /// Small things worth remembering.
    pub cache: Cache,
    /// What time it is.
    pub clock: Clock,
    /// How much of the time this process may run.
    pub stalls: Arc<StallMonitor>,
    _identity: Identity,
}

impl Device {
    /// Takes an identity and opens what is kept on disk.
    ///
    /// # Errors
    /// When the home cannot be used, or the system gives no threads; in words.
    pub(crate) fn open(options: &DeviceOptions) -> Result<Device, String> {
        let home = Home::find(options.home.as_deref()).map_err(|error| error.to_string())?;
        let identity = Identity::claim(&home).map_err(|error| error.to_string())?;
        let store = ChunkStore::open(home.cache.join("chunks"), None);
        let store = store.map_err(|error| error.to_string())?;
        let threads = options.threads.unwrap_or_else(Pool::all_cores).max(1);
        let pool = Pool::new(threads).map_err(|error| format!("compute threads: {error}"))?;
        let clock = Clock::start();
        let stalls =
            StallMonitor::start(clock).map_err(|error| format!("a thread to tick: {error}"))?;
        let hello = Hello {
            protocol: PROTOCOL,
            build: crate::api::VERSION.to_owned(),
            node: identity.node(),
            incarnation: new_incarnation().map_err(|error| error.to_string())?,
            name: options.name.clone().unwrap_or_else(|| host_name(identity.slot())),
            cluster: options.cluster.clone(),
            isa: options.isa.unwrap_or_else(Isa::detect),
            threads: threads.min(usize::from(u16::MAX)) as u16,
            memory: options.memory.unwrap_or_else(default_memory).0,
            purpose: Purpose::Control,
        };
        Ok(Device {
            hello,
            pool: Arc::new(pool.paced(options.pace)),
            pace: options.pace,
            store: Arc::new(store),
            cache: Cache::new(home.cache.join("cache")),
            clock,
            stalls: Arc::new(stalls),
            _identity: identity,
        })
    }

    /// Its id.
    pub(crate) fn node(&self) -> NodeId {
        self.hello.node
    }
}

/// The host's name; with a number for the second and later processes of a user.
fn host_name(slot: u32) -> String {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    match slot {
        0 => host,
        slot => format!("{host}-{}", slot + 1),
    }
}

/// Four fifths of the smaller of the control group's limit and what is available.
fn default_memory() -> Bytes {
    let available = available_memory();
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map(Bytes);
    let least = available.into_iter().chain(limit).min().unwrap_or(MEMORY_ASSUMED);
    Bytes((least.as_f64() * MEMORY_PART) as u64)
}

fn available_memory() -> Option<Bytes> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kib * 1024))
}
