//! Where a device keeps what it must remember, and who it is.
//!
//! A node id stays the same across restarts. Several processes of a user on one machine each hold a
//! slot of their own, by a lock that ends with the process: the first to start is always the first
//! device, the second the second. An id is bound to its machine: in a copied home (a cloned SD card)
//! the copy mints an id of its own.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use edgeld_runtime::wire::{NodeId, SessionId};
use etcetera::{BaseStrategy, choose_base_strategy};
use serde::{Deserialize, Serialize};

/// The environment variable that names the home.
pub(super) const HOME_VARIABLE: &str = "EDGELD_HOME";

/// Devices that one home can tell apart.
const SLOTS: u32 = 1024;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The platform names no directory for data.
    #[error("no home directory is known ({0}): set {HOME_VARIABLE} to a directory")]
    NoHome(String),
    /// A file or directory cannot be used.
    #[error("{path}: {source}; set {HOME_VARIABLE} to a directory that can be written")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// All slots are held.
    #[error(
        "{SLOTS} processes use {0} already: set {HOME_VARIABLE} to another directory, or stop some"
    )]
    Full(PathBuf),
    /// The system gives no randomness.
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
}

/// The directories of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    /// What must last: identity.
    pub data: PathBuf,
    /// What can be had again: weights, manifests, profiles.
    pub cache: PathBuf,
}

impl Home {
    /// `explicit`, else what `EDGELD_HOME` names, else the platform's directories. Nothing is
    /// created.
    ///
    /// # Errors
    /// [`IdentityError::NoHome`] where none of them is known.
    pub(crate) fn find(explicit: Option<&Path>) -> Result<Home, IdentityError> {
        let named = explicit.map(Path::to_owned);
        let set = || env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty()).map(PathBuf::from);
        if let Some(home) = named.or_else(set) {
            return Ok(Home { data: home.clone(), cache: home });
        }
        let platform =
            choose_base_strategy().map_err(|error| IdentityError::NoHome(error.to_string()))?;
        Ok(Home {
            data: platform.data_dir().join("edgeld"),
            cache: platform.cache_dir().join("edgeld"),
        })
    }
}

/// A node id, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Identity {
    node: NodeId,
    slot: u32,
    _lock: File,
}

/// What is on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    id: String,
    /// Hash of what tells this machine from others.
    machine: String,
}

impl Identity {
    /// Takes the first free slot of a home.
    ///
    /// # Errors
    /// When the home cannot be used, or has no free slot.
    pub(crate) fn claim(home: &Home) -> Result<Identity, IdentityError> {
        claim(&home.data.join("identity"), &machine())
    }

    /// The id.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// Which slot of the home it is, from 0: for names of devices on one machine.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

/// A new session's id.
///
/// # Errors
/// [`IdentityError::Random`].
pub(crate) fn new_session() -> Result<SessionId, IdentityError> {
    random().map(SessionId)
}

fn claim(folder: &Path, machine: &str) -> Result<Identity, IdentityError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for slot in 0..SLOTS {
        let path = folder.join(format!("{slot}.lock"));
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {
                let path = folder.join(format!("{slot}.json"));
                let node = match recall(&path, machine) {
                    Some(node) => node,
                    None => mint(&path, machine)?,
                };
                return Ok(Identity { node, slot, _lock: lock });
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
        }
    }
    Err(IdentityError::Full(folder.to_owned()))
}

/// The id in a file, if it is one and was minted on this machine.
fn recall(path: &Path, machine: &str) -> Option<NodeId> {
    let stored: Stored = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    if stored.machine != machine {
        tracing::info!("{} comes from another machine: this one gets a new id", path.display());
        return None;
    }
    stored.id.parse().ok()
}

/// Makes a new id. The slot is locked, so that nobody else writes there.
fn mint(path: &Path, machine: &str) -> Result<NodeId, IdentityError> {
    let node = NodeId(random()?);
    let stored = Stored { id: node.to_string(), machine: machine.to_owned() };
    let fresh = path.with_extension("new");
    let written = serde_json::to_vec_pretty(&stored)
        .map_err(io::Error::from)
        .and_then(|text| fs::write(&fresh, text))
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|source| IdentityError::Io { path: path.to_owned(), source })?;
    Ok(node)
}

fn random() -> Result<u128, IdentityError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(IdentityError::Random)?;
    Ok(u128::from_le_bytes(bytes))
}

/// Hash of what tells this machine from others: the installation's id, and the board's serial
/// number where there is one, since the first is copied with an SD card. The same for all machines
/// where the system names neither; ids are then not bound.
fn machine() -> String {
    let sources =
        ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/device-tree/serial-number"];
    let mut hash = blake3::Hasher::new_derive_key("edgeld machine 1");
    for source in sources {
        let text = fs::read(source).unwrap_or_default();
        hash.update(&(text.len() as u64).to_le_bytes()).update(&text);
    }
    hash.finalize().to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_and_processes_of_one_home_differ() {
        let home = tempfile::tempdir().unwrap();
        let first = claim(home.path(), "here").unwrap();
        let second = claim(home.path(), "here").unwrap();
        assert_ne!(first.node(), second.node());
        assert_eq!((first.slot(), second.slot()), (0, 1));
        let (one, two) = (first.node(), second.node());
        drop(first);
        assert_eq!(claim(home.path(), "here").unwrap().node(), one);
        drop(second);
        let first = claim(home.path(), "here").unwrap();
        let second = claim(home.path(), "here").unwrap();
        assert_eq!((first.node(), second.node()), (one, two));
    }

    #[test]
    fn another_machine_gets_an_id_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let original = claim(home.path(), "here").unwrap().node();
        let clone = claim(home.path(), "there").unwrap().node();
        assert_ne!(original, clone);
        assert_eq!(claim(home.path(), "there").unwrap().node(), clone);
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let before = claim(home.path(), "here").unwrap().node();
        for damage in ["", "{", r#"{"id":"xyz","machine":"here"}"#] {
            fs::write(home.path().join("0.json"), damage).unwrap();
            let after = claim(home.path(), "here").unwrap().node();
            assert_ne!(after, before);
            assert_eq!(claim(home.path(), "here").unwrap().node(), after);
        }
    }

    #[test]
    fn a_home_that_is_a_file_is_named() {
        let home = tempfile::NamedTempFile::new().unwrap();
        let error = claim(home.path(), "here").unwrap_err().to_string();
        assert!(error.contains(HOME_VARIABLE), "{error}");
        assert!(error.contains(&home.path().display().to_string()), "{error}");
    }
}
