//! The key that makes devices one cluster: 32 random bytes, kept in a file as 64 hex digits.
//!
//! Whoever has it belongs to the cluster, so a file that other users of the machine can read is
//! refused, as an exposed private key is by ssh.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Longest key file to read: a key and some white space.
const MAX_FILE: u64 = 4096;

/// A cluster's secret key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; KEY_BYTES]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("key file {path}: {source}; `edgeld key new FILE` makes one")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users can read or change the file.
    #[error(
        "key file {path} is open to other users (mode {mode:03o}): whoever reads it belongs to the cluster; run `chmod 600 {path}`, or make a new key if somebody may have read it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{path} is not a key file (64 hex digits); `edgeld key new FILE` makes one")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system provides no random numbers.
    #[error("the system provides no random numbers: {0}")]
    Random(String),
}

impl ClusterKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<ClusterKey, KeyError> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| KeyError::Random(error.to_string()))?;
        Ok(ClusterKey(bytes))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it cannot be read, is open to other users, or holds something else.
    pub fn read(path: &Path) -> Result<ClusterKey, KeyError> {
        let failed = |source| KeyError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        check_privacy(path, &file)?;
        let mut text = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut text).map_err(failed)?;
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        std::str::from_utf8(&text).ok().and_then(|text| parse(text.trim())).ok_or_else(malformed)
    }

    /// Writes a new key file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError::Io`], also when the file exists: a key is never overwritten.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source| KeyError::Io { path: path.to_owned(), source };
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        writeln!(file, "{}", self.to_text()).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// The key as a key file holds it: 64 hex digits.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A key of these bytes.
    pub(crate) fn of(bytes: [u8; KEY_BYTES]) -> ClusterKey {
        ClusterKey(bytes)
    }

    /// The key itself.
    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// Never shows the key, so that no log does.
impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

fn parse(text: &str) -> Option<ClusterKey> {
    let is_hex = text.len() == 2 * KEY_BYTES && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(ClusterKey(bytes))
}

/// Refuses a file that others may read or change. A file of another user, as a service manager
/// provides it, may be there for this user's group.
#[cfg(unix)]
fn check_privacy(path: &Path, file: &File) -> Result<(), KeyError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata();
    let metadata = metadata.map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o777;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    match mode & if is_own { 0o077 } else { 0o037 } {
        0 => Ok(()),
        _ => Err(KeyError::Exposed { path: path.to_owned(), mode }),
    }
}

/// Without permission bits there is nothing to check.
#[cfg(not(unix))]
fn check_privacy(_: &Path, _: &File) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        let key = ClusterKey::generate().unwrap();
        assert!(key != ClusterKey::generate().unwrap());
        key.write(&path).unwrap();
        assert_eq!(ClusterKey::read(&path).unwrap(), key);
        let again = ClusterKey::generate().unwrap().write(&path).unwrap_err();
        assert!(matches!(again, KeyError::Io { .. }), "a key was overwritten");
        assert_eq!(ClusterKey::read(&path).unwrap(), key);
        assert!(!format!("{key:?}").contains(&key.to_text()[..8]));
    }

    #[test]
    fn other_files_are_no_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Io { .. })));
        let key = ClusterKey::generate().unwrap();
        key.write(&path).unwrap();
        let digits = key.to_text();
        for text in ["", "key", &digits[1..], &format!("{digits}0"), &digits.replace(|_| true, "é")]
        {
            std::fs::write(&path, text).unwrap();
            let error = ClusterKey::read(&path).unwrap_err();
            assert!(matches!(error, KeyError::Malformed { .. }), "{text:?}: {error}");
        }
        std::fs::write(&path, format!("\n {}\r\n", digits.to_uppercase())).unwrap();
        assert_eq!(ClusterKey::read(&path).unwrap(), key);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        ClusterKey::generate().unwrap().write(&path).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o602, 0o610] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = ClusterKey::read(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600") && error.contains(&format!("{mode:o}")), "{error}");
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            ClusterKey::read(&path).unwrap();
        }
    }
}
