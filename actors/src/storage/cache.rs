//! Small results kept between runs: manifests of model files, measured profiles.
//!
//! An entry is a file named by the hash of its key. A damaged entry, or one with the layout of
//! another build, counts as absent. Failing to write an entry only costs time later.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::chunks::write_atomically;

/// How many entries stay: profiles of builds that are gone, manifests of files that are.
const MAX_ENTRIES: usize = 256;

/// Longest entry, in bytes.
const MAX_ENTRY: u64 = 64 << 20;

/// A key-value cache in a directory.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in `folder`, which is created on first use.
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into() }
    }

    /// The bytes stored under a key, if intact.
    pub(crate) fn get_bytes(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.path(key);
        if fs::metadata(&path).ok()?.len() > MAX_ENTRY {
            return None;
        }
        let entry = fs::read(path).ok()?;
        let (hash, bytes) = entry.split_first_chunk::<32>()?;
        (blake3::hash(bytes).as_bytes() == hash).then(|| bytes.to_vec())
    }

    /// Stores bytes under a key. If there are many entries, those that were written first go.
    ///
    /// # Errors
    /// When they cannot be written; callers may ignore this.
    pub(crate) fn put_bytes(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let entry = [blake3::hash(bytes).as_bytes(), bytes].concat();
        write_atomically(&self.path(key), &entry)?;
        self.prune();
        Ok(())
    }

    fn prune(&self) {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let written =
            |file: fs::DirEntry| Some((file.metadata().ok()?.modified().ok()?, file.path()));
        let mut entries: Vec<(SystemTime, PathBuf)> = files.filter_map(written).collect();
        entries.sort();
        for (_, path) in entries.iter().rev().skip(MAX_ENTRIES) {
            // Another process may have removed it already.
            let _ = fs::remove_file(path);
        }
    }

    /// The value stored under a key.
    pub(crate) fn get<Value: DeserializeOwned>(&self, key: &str) -> Option<Value> {
        rmp_serde::from_slice(&self.get_bytes(key)?).ok()
    }

    /// Stores a value under a key.
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
    fn the_oldest_entries_go() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        cache.put("first", &1).unwrap();
        let file = fs::File::options().write(true).open(cache.path("first")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        for number in 0..MAX_ENTRIES {
            cache.put(&format!("later {number}"), &number).unwrap();
        }
        assert_eq!(cache.get::<i32>("first"), None);
        assert_eq!(cache.get("later 0"), Some(0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MAX_ENTRIES);
    }

    #[test]
    fn intact_entries_come_back_and_damaged_ones_do_not() {
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
