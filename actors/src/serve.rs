//! A worker: this device, offered to the leaders of its cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use edgeld_runtime::plan::Generation;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::NodeId;
use tokio::sync::mpsc::UnboundedSender;

use crate::error::ServeError;

/// The port that a worker tries first.
pub const DEFAULT_PORT: u16 = 7070;

/// How a worker offers its device.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name, for people; the host's name if there is none.
    pub name: Option<String>,
    /// Where it listens: exactly there, port 0 being any free one. `None` is port
    /// [`DEFAULT_PORT`] or the next free one, on loopback, or on all interfaces with `insecure`.
    pub listen: Option<SocketAddr>,
    /// Threads to compute on; all cores if there is no number.
    pub threads: Option<usize>,
    /// Memory it may use; see DECISIONS on the default.
    pub memory: Option<Bytes>,
    /// Name of the cluster it belongs to.
    pub cluster: String,
    /// Whether it may be reached from the network without a key.
    pub insecure: bool,
    /// Whether it announces itself over mDNS.
    pub mdns: bool,
    /// Where identity, weights and profiles are kept; `EDGELD_HOME` or the platform's directories
    /// if there is none.
    pub home: Option<PathBuf>,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions {
            name: None,
            listen: None,
            threads: None,
            memory: None,
            cluster: crate::DEFAULT_CLUSTER.to_owned(),
            insecure: false,
            mdns: true,
            home: None,
        }
    }
}

/// What happened on a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEvent {
    /// It can be reached.
    Listening {
        /// Its id.
        id: NodeId,
        /// Its name.
        name: String,
        /// Where.
        address: SocketAddr,
        /// Its build.
        version: &'static str,
    },
    /// A leader began a session.
    Session {
        /// The leader's name.
        leader: String,
    },
    /// A plan is ready to run here.
    Program {
        /// Its number.
        generation: Generation,
        /// Stages in which this device has a share.
        stages: usize,
    },
    /// A session ended.
    SessionClosed {
        /// The leader's name.
        leader: String,
        /// Why.
        reason: String,
    },
}

/// Offers this device until `stop` is done; what happens is told on `events`.
///
/// # Errors
/// When it cannot listen or its home cannot be used. A peer, however bad, is never an error here.
pub async fn serve(
    options: WorkerOptions,
    events: UnboundedSender<WorkerEvent>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let _ = (options, events);
    stop.await;
    Err(ServeError::Start("the worker is not part of this build yet".to_owned()))
}
