//! Small things worth remembering between runs: manifests of model files, measured profiles.
//!
//! An entry is a file named by the hash of its key. One that is damaged, or was written by a build
//! that laid it out differently, counts as absent; one that cannot be written costs time, nothing
//! else.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::chunks::write_whole;

/// No entry is longer, in bytes.
const MAX_ENTRY: u64 = 64 << 20;

/// Entries in a directory.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in `folder`, which is created with the first entry.
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into() }
    }

    /// The bytes that were kept for a key, whole.
    pub(crate) fn get_bytes(&self, key: &str) -> Option<Vec<u8>> {
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
    pub(crate) fn put_bytes(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let entry = [blake3::hash(bytes).as_bytes(), bytes].concat();
        write_whole(&self.path(key), &entry)
    }

    /// What was kept for a key.
    pub(crate) fn get<Value: DeserializeOwned>(&self, key: &str) -> Option<Value> {
        rmp_serde::from_slice(&self.get_bytes(key)?).ok()
    }

    /// Keeps plain data for a key.
    ///
    /// # Errors
    /// As [`Cache::put_bytes`].
    pub(crate) fn put<Value: Serialize>(&self, key: &str, value: &Value) -> io::Result<()> {
        let bytes = rmp_serde::to_vec_named(value).map_err(io::Error::other)?;
        self.put_bytes(key, &bytes)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(blake3::hash(key.as_bytes()).to_hex().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("profiles"));
        assert_eq!(cache.get::<Vec<f64>>("speed"), None);
        cache.put("speed", &vec![1.5, 2.5]).unwrap();
        cache.put("other", &"text").unwrap();
        assert_eq!(cache.get("speed"), Some(vec![1.5, 2.5]));
        assert_eq!(cache.get::<String>("speed"), None);

        let path = cache.path("speed");
        let mut bytes = fs::read(&path).unwrap();
        bytes.pop();
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get::<Vec<f64>>("speed"), None);
        assert_eq!(cache.get("other"), Some("text".to_owned()));
    }
}
