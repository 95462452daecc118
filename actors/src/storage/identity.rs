//! A device's directories and its node id.
//!
//! A node id survives restarts. Each process of a user on one machine locks its own slot until it
//! exits: the first to start is always the first device, the second the second. An id is bound to
//! its machine: with a copied home (a cloned SD card), the copy creates a new id.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use edgeld_runtime::wire::{Incarnation, NodeId, SessionId};
use etcetera::{BaseStrategy, choose_base_strategy};
use serde::{Deserialize, Serialize};

/// The environment variable with the home directory.
pub(super) const HOME_VARIABLE: &str = "EDGELD_HOME";

/// Maximum number of devices per home.
const SLOTS: u32 = 1024;

/// Why no identity could be claimed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The platform has no data directory.
    #[error("no home directory found ({0}); set {HOME_VARIABLE} to a directory")]
    NoHome(String),
    /// A file or directory cannot be used.
    #[error("{path}: {source}; set {HOME_VARIABLE} to a writable directory")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// All slots are taken.
    #[error(
        "{SLOTS} processes already use {0}; stop some, or set {HOME_VARIABLE} to another directory"
    )]
    Full(PathBuf),
    /// The system provides no random numbers.
    #[error("the system provides no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The directories of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    /// What must not be lost: the identity.
    pub data: PathBuf,
    /// What can be recreated: weights, manifests, profiles.
    pub cache: PathBuf,
}

impl Home {
    /// `explicit`, else `EDGELD_HOME`, else the platform's directories. Creates nothing.
    ///
    /// # Errors
    /// [`IdentityError::NoHome`] when there is none of them.
    pub(crate) fn find(explicit: Option<&Path>) -> Result<Home, IdentityError> {
        let given = explicit.map(Path::to_owned);
        let variable =
            || env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty()).map(PathBuf::from);
        if let Some(home) = given.or_else(variable) {
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

/// A node id. Its slot is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Identity {
    node: NodeId,
    slot: u32,
    _lock: File,
}

/// The file in a slot.
#[derive(Debug, Serialize, Deserialize)]
struct IdentityFile {
    id: String,
    /// The [`machine_hash`] at creation.
    machine: String,
}

impl Identity {
    /// Takes the first free slot of a home.
    ///
    /// # Errors
    /// When the home cannot be used, or has no free slot.
    pub(crate) fn claim(home: &Home) -> Result<Identity, IdentityError> {
        claim(&home.data.join("identity"), &machine_hash())
    }

    /// The id.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// The slot, from 0; distinguishes the default names of devices on one machine.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

/// A random session id.
///
/// # Errors
/// [`IdentityError::Random`].
pub(crate) fn new_session() -> Result<SessionId, IdentityError> {
    random().map(SessionId)
}

/// A random name for this run of the process.
///
/// # Errors
/// [`IdentityError::Random`].
pub(crate) fn new_incarnation() -> Result<Incarnation, IdentityError> {
    random().map(|bits| Incarnation(bits as u64))
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
                let node = match load(&path, machine) {
                    Some(node) => node,
                    None => create(&path, machine)?,
                };
                return Ok(Identity { node, slot, _lock: lock });
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
        }
    }
    Err(IdentityError::Full(folder.to_owned()))
}

/// The id in a file, if it is valid and was created on this machine.
fn load(path: &Path, machine: &str) -> Option<NodeId> {
    let stored: IdentityFile = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    if stored.machine != machine {
        tracing::info!("{} was copied from another machine; creating a new id", path.display());
        return None;
    }
    stored.id.parse().ok()
}

/// Creates an id. Only the holder of the slot's lock writes there.
fn create(path: &Path, machine: &str) -> Result<NodeId, IdentityError> {
    let node = NodeId(random()?);
    let stored = IdentityFile { id: node.to_string(), machine: machine.to_owned() };
    let temporary = path.with_extension("new");
    let written = serde_json::to_vec_pretty(&stored)
        .map_err(io::Error::from)
        .and_then(|text| fs::write(&temporary, text))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| IdentityError::Io { path: path.to_owned(), source })?;
    Ok(node)
}

fn random() -> Result<u128, IdentityError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(IdentityError::Random)?;
    Ok(u128::from_le_bytes(bytes))
}

/// Hash that distinguishes this machine: the installation's id, plus the board's serial number if
/// there is one, since cloning an SD card copies the former. On systems with neither, the hash is
/// the same everywhere and ids are not bound to a machine.
fn machine_hash() -> String {
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
    fn ids_survive_restarts_and_differ_between_processes() {
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
    fn another_machine_gets_its_own_id() {
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
    fn the_error_names_an_unusable_home() {
        let home = tempfile::NamedTempFile::new().unwrap();
        let error = claim(home.path(), "here").unwrap_err().to_string();
        assert!(error.contains(HOME_VARIABLE), "{error}");
        assert!(error.contains(&home.path().display().to_string()), "{error}");
    }
}
