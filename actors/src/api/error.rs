//! What can go wrong between a user and a cluster, typed, each with what to try next.

use std::net::SocketAddr;

use edgeld_runtime::models::OpenError;
use edgeld_runtime::units::Ms;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Fewer devices than were asked for.
    #[error("{found} of {wanted} devices were there after {waited}")]
    TooFew {
        /// Devices found, this one included.
        found: usize,
        /// Devices asked for.
        wanted: usize,
        /// How long it waited.
        waited: Ms,
        /// What was seen of the others: peers that were refused or could not be reached.
        notes: Vec<String>,
    },
    /// A peer that was named does not answer.
    #[error("{peer} does not answer: {error}")]
    Unreachable {
        /// Its address, as given.
        peer: String,
        /// What the system said.
        error: String,
    },
    /// A peer that was named answers, and is none to work with: another version, another cluster,
    /// or no EdgeLD at all.
    #[error("{peer} was refused: {why}")]
    Refused {
        /// Its address, as given.
        peer: String,
        /// Why.
        why: String,
    },
    /// This device's own identity or store cannot be used.
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
                let start = "start `edgeld worker` on more devices of this network, name them with \
                             --peer HOST:PORT where multicast does not pass, or wait longer with \
                             --wait";
                match notes.as_slice() {
                    [] => start.to_owned(),
                    notes => format!("{start} (seen: {})", notes.join("; ")),
                }
            }
            ClusterError::Unreachable { .. } => "is `edgeld worker` running there, and is the \
                port the one it printed?"
                .to_owned(),
            ClusterError::Refused { .. } => {
                "give both devices the same version and the same --cluster".to_owned()
            }
            ClusterError::Home(_) => {
                "set EDGELD_HOME to a directory that can be written".to_owned()
            }
            ClusterError::Start(_) => "see the log with RUST_LOG=debug".to_owned(),
        }
    }
}

/// Why a model cannot run on a cluster.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such model, or it is malformed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No plan fits the devices there are: not enough memory, or settings that exclude each other.
    #[error("no plan fits: {0}")]
    NoPlan(String),
    /// The model's weights cannot be read.
    #[error("the weights cannot be read: {0}")]
    Weights(String),
    /// This device cannot begin.
    #[error("cannot begin: {0}")]
    Start(String),
    /// The cluster was shut down.
    #[error("the cluster is closed")]
    Closed,
}

/// Why a frame has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InferError {
    /// Not as many inputs as the model has.
    #[error("{found} inputs were given, the model has {wanted}")]
    InputCount {
        /// How many were given.
        found: usize,
        /// How many there are.
        wanted: usize,
    },
    /// An input of another size or kind.
    #[error("input {name} takes {wanted}, not {found}")]
    Input {
        /// The input's name.
        name: String,
        /// What was given.
        found: String,
        /// What it takes.
        wanted: String,
    },
    /// It was tried as often as is sensible.
    #[error("frame {frame} failed after {attempts} attempts: {error}")]
    Failed {
        /// Its number.
        frame: u64,
        /// How often it was begun.
        attempts: u32,
        /// What went wrong last.
        error: String,
    },
    /// The cluster was shut down.
    #[error("the cluster is closed")]
    Closed,
}

/// An output whose elements do not fill its dimensions. In an answer they do; whoever makes or
/// changes an [`Output`](super::Output) has to see to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output {name} has {found} elements, which do not fill its dimensions {dims:?}")]
pub struct OutputShapeError {
    /// The output's name.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<u64>,
    /// Elements that it has.
    pub found: usize,
}

/// Why a worker cannot offer its device.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not one that it can listen on.
    #[error("{0}")]
    Listen(String),
    /// It would be open to anyone on the network.
    #[error("{address} can be reached from the network, and anyone there could use this device")]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// Its identity or store cannot be used.
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
                "choose another port with --listen ADDR:PORT; port 0 is any free one".to_owned()
            }
            ServeError::Open { .. } => "listen on 127.0.0.1 only, or accept the risk on a network \
                that you trust with --insecure"
                .to_owned(),
            ServeError::Home(_) => "set EDGELD_HOME to a directory that can be written".to_owned(),
            ServeError::Start(_) => "see the log with RUST_LOG=debug".to_owned(),
        }
    }
}
