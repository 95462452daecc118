//! The errors users see; most have a hint about what to try next.

use std::net::SocketAddr;

use edgeld_runtime::models::OpenError;
use edgeld_runtime::units::Ms;

/// What to try when a key file cannot be used.
const KEY_HINT: &str = "make a key once with `edgeld key new FILE`, copy it to every device of the \
    cluster, and let only its owner read it: chmod 600 FILE";

/// Why a cluster could not be formed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Fewer devices than asked for.
    #[error("found {found} of {wanted} devices after waiting {waited}")]
    TooFew {
        /// Devices found, this one included.
        found: usize,
        /// Devices asked for.
        wanted: usize,
        /// How long discovery waited.
        waited: Ms,
        /// Peers that refused, were refused or could not be reached.
        notes: Vec<String>,
    },
    /// A named peer does not answer.
    #[error("{peer} does not answer: {error}")]
    Unreachable {
        /// Its address, as given.
        peer: String,
        /// The system's error.
        error: String,
    },
    /// A named peer answers but cannot be used: another version, another cluster, or not EdgeLD
    /// at all.
    #[error("cannot use {peer}: {why}")]
    Refused {
        /// Its address, as given.
        peer: String,
        /// Why.
        why: String,
    },
    /// The cluster's key cannot be used.
    #[error("{0}")]
    Key(String),
    /// This device's identity or store cannot be used.
    #[error("{0}")]
    Home(String),
    /// This device could not start.
    #[error("cannot start: {0}")]
    Start(String),
}

impl ClusterError {
    /// What to try next.
    pub fn hint(&self) -> String {
        match self {
            ClusterError::TooFew { notes, .. } => {
                let start = "start `edgeld worker` on more devices in this network, name them with \
                             --peer HOST:PORT if multicast is blocked, or wait longer with --wait";
                match notes.as_slice() {
                    [] => start.to_owned(),
                    notes => format!("{start} (seen: {})", notes.join("; ")),
                }
            }
            ClusterError::Unreachable { .. } => "is `edgeld worker` running there, and is this \
                the port it printed?"
                .to_owned(),
            ClusterError::Refused { .. } => {
                "use the same version, the same --cluster and the same --key on both devices"
                    .to_owned()
            }
            ClusterError::Key(_) => KEY_HINT.to_owned(),
            ClusterError::Home(_) => "set EDGELD_HOME to a writable directory".to_owned(),
            ClusterError::Start(_) => "rerun with RUST_LOG=debug to see the log".to_owned(),
        }
    }
}

/// Why a model cannot run on a cluster.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model does not exist or is malformed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No plan fits the devices: too little memory, or conflicting settings.
    #[error("no plan fits: {0}")]
    NoPlan(String),
    /// The model's weights cannot be read.
    #[error("cannot read the weights: {0}")]
    Weights(String),
    /// The session could not start.
    #[error("cannot start the session: {0}")]
    Start(String),
    /// The cluster was shut down.
    #[error("the cluster is closed")]
    Closed,
}

/// Why an inference failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InferError {
    /// Wrong number of inputs.
    #[error("{found} inputs given, but the model takes {wanted}")]
    InputCount {
        /// Number given.
        found: usize,
        /// Number the model takes.
        wanted: usize,
    },
    /// An input of the wrong size or type.
    #[error("input {name} must be {wanted}, not {found}")]
    Input {
        /// The input's name.
        name: String,
        /// What was given.
        found: String,
        /// What it takes.
        wanted: String,
    },
    /// The frame failed on every attempt.
    #[error("frame {frame} failed after {attempts} attempts: {error}")]
    Failed {
        /// The frame's number.
        frame: u64,
        /// Number of attempts.
        attempts: u32,
        /// The last error.
        error: String,
    },
    /// The cluster was shut down.
    #[error("the cluster is closed")]
    Closed,
}

/// An output whose elements do not fill its dimensions. Those of an answer always do; one that was
/// built or changed by hand may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output {name} has {found} elements, which do not fill its dimensions {dims:?}")]
pub struct OutputShapeError {
    /// The output's name.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<u64>,
    /// The number of elements it has.
    pub found: usize,
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot listen on the address.
    #[error("{0}")]
    Listen(String),
    /// The address would expose the device to the network.
    #[error("{address} is reachable from the network, so anyone there could use this device")]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// The cluster's key cannot be used.
    #[error("{0}")]
    Key(String),
    /// The device's identity or store cannot be used.
    #[error("{0}")]
    Home(String),
    /// It could not start.
    #[error("cannot start: {0}")]
    Start(String),
}

impl ServeError {
    /// What to try next.
    pub fn hint(&self) -> String {
        match self {
            ServeError::Listen(_) => {
                "choose another port with --listen ADDR:PORT; port 0 picks a free one".to_owned()
            }
            ServeError::Open { .. } => "give the cluster a key with --key FILE (`edgeld key new \
                FILE` makes one), listen on 127.0.0.1 only, or accept the risk on a trusted \
                network with --insecure"
                .to_owned(),
            ServeError::Key(_) => KEY_HINT.to_owned(),
            ServeError::Home(_) => "set EDGELD_HOME to a writable directory".to_owned(),
            ServeError::Start(_) => "rerun with RUST_LOG=debug to see the log".to_owned(),
        }
    }
}
