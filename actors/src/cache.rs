//! Small things worth remembering between runs: manifests of model files, measured profiles.
//!
//! An entry is a file named by the hash of its key. One that is damaged, or was written by a build
//! that laid it out differently, counts as absent; one that cannot be written costs time, nothing
//! else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::write_whole;

/// No entry is longer, in bytes.
const MAX_ENTRY: u64 = 64 << 20;

/// Entries in a directory.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in `folder`, which is created with the first entry.
    pub fn new(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into() }
    }

    /// The bytes that were kept for a key, whole.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.path(key);
        if fs::metadata(&path).ok()?.len() > MAX_ENTRY {
            return None;
        }
        let entry = fs::read(path).ok()?;
        let (hash, bytes) = entry.split_first_chunk::<32>()?;
        (blake3::hash(bytes).as_bytes() == hash).then(|| bytes.to_vec())
    }

    /// Keeps bytes for a key.
    ///
    /// # Errors
    /// When they cannot be written; a caller may go on without.
    pub fn keep_bytes(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let entry = [blake3::hash(bytes).as_bytes(), bytes].concat();
        write_whole(&self.path(key), &entry)
    }

    /// What was kept for a key.
    pub fn value<Value: DeserializeOwned>(&self, key: &str) -> Option<Value> {
        rmp_serde::from_slice(&self.bytes(key)?).ok()
    }

    /// Keeps plain data for a key.
    ///
    /// # Errors
    /// As [`Cache::keep_bytes`].
    pub fn keep<Value: Serialize>(&self, key: &str, value: &Value) -> io::Result<()> {
        let bytes = rmp_serde::to_vec_named(value).map_err(io::Error::other)?;
        self.keep_bytes(key, &bytes)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(blake3::hash(key.as_bytes()).to_hex().as_str())
    }
}

/// A key for what was derived from a file as it is now: path, size and time of its last change.
///
/// # Errors
/// When there is no such file.
pub fn file_key(path: &Path) -> io::Result<String> {
    let path = path.canonicalize()?;
    let metadata = fs::metadata(&path)?;
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{} {} {}", path.display(), metadata.len(), changed.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("profiles"));
        assert_eq!(cache.value::<Vec<f64>>("speed"), None);
        cache.keep("speed", &vec![1.5, 2.5]).unwrap();
        cache.keep("other", &"text").unwrap();
        assert_eq!(cache.value("speed"), Some(vec![1.5, 2.5]));
        assert_eq!(cache.value::<String>("speed"), None);

        let path = cache.path("speed");
        let mut bytes = fs::read(&path).unwrap();
        bytes.pop();
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.value::<Vec<f64>>("speed"), None);
        assert_eq!(cache.value("other"), Some("text".to_owned()));
    }

    #[test]
    fn a_changed_file_has_another_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "a").unwrap();
        let before = file_key(file.path()).unwrap();
        assert_eq!(file_key(file.path()).unwrap(), before);
        fs::write(file.path(), "ab").unwrap();
        assert_ne!(file_key(file.path()).unwrap(), before);
        assert!(file_key(&file.path().with_extension("gone")).is_err());
    }
}
