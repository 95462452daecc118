//! Weights on disk: chunks of models, each in a file named by its hash.
//!
//! A chunk is written once, under a temporary name, and then renamed, so that any number of
//! processes share a store without locks: at worst two write the same bytes. It is checked against
//! its hash whenever it is read. Reading it and counting on it mark it as used; when the store outgrows its cap, the
//! chunks that were not used for the longest time go, but none that was used a short while ago.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use edgeld_runtime::graph::ParameterId;
use edgeld_runtime::manifest::{Hash, Manifest};
use edgeld_runtime::region::ChannelRange;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::weights::{WeightError, WeightSource};

/// A store is no larger unless it is told otherwise.
const DEFAULT_CAP: u64 = 8 << 30;

/// Chunks that were used within this time are spared: a program may be about to be prepared from
/// them.
const SPARED: Duration = Duration::from_secs(600);

/// Temporary files of processes that died are removed after this time.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Why a chunk could not be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The bytes are not those that were asked for.
    #[error("bytes that should be chunk {0} are not")]
    Mismatch(Hash),
    /// The disk is full, or must not be written.
    #[error("{path}: {source}; make room, or set EDGELD_HOME to a directory on another disk")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Chunks on disk.
#[derive(Debug)]
pub(crate) struct ChunkStore {
    folder: PathBuf,
    cap: u64,
    /// Bytes in the store, as far as this process knows; found anew at every eviction.
    bytes: AtomicU64,
}

impl ChunkStore {
    /// Opens or creates a store that keeps itself below `cap`: by default 8 GiB, or half of what
    /// the disk could give it if that is less.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub(crate) fn open(
        folder: impl Into<PathBuf>,
        cap: Option<Bytes>,
    ) -> Result<ChunkStore, StoreError> {
        let folder = folder.into();
        let failed = |source| StoreError::Io { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let bytes = entries(&folder).iter().map(|entry| entry.bytes).sum();
        let half = || free(&folder).map_or(u64::MAX, |free| (free + bytes) / 2);
        let cap = cap.map_or_else(|| DEFAULT_CAP.min(half()), |cap| cap.0);
        Ok(ChunkStore { folder, cap, bytes: AtomicU64::new(bytes) })
    }

    /// Whether a chunk is there; if it is, it counts as used now, so that it is there for a while.
    pub(crate) fn touch(&self, hash: &Hash) -> bool {
        let path = self.path(hash);
        // The mark is a courtesy: a store that may only be read still serves.
        let marked = fs::File::options().write(true).open(&path);
        let _ = marked.and_then(|file| file.set_modified(SystemTime::now()));
        path.exists()
    }

    /// A chunk's bytes, checked. One that is damaged is removed, and missing from then on.
    pub(crate) fn read(&self, hash: &Hash) -> Option<Vec<u8>> {
        let path = self.path(hash);
        let bytes = fs::read(&path).ok()?;
        if Hash::of(&bytes) != *hash {
            tracing::warn!("{}: damaged on disk; it will be fetched again", path.display());
            let _ = fs::remove_file(path);
            return None;
        }
        self.touch(hash);
        Some(bytes)
    }

    /// Stores a chunk.
    ///
    /// # Errors
    /// When the bytes do not have that hash, or cannot be written.
    pub(crate) fn write(&self, hash: &Hash, bytes: &[u8]) -> Result<(), StoreError> {
        if Hash::of(bytes) != *hash {
            return Err(StoreError::Mismatch(*hash));
        }
        let path = self.path(hash);
        write_whole(&path, bytes).map_err(|source| StoreError::Io { path, source })?;
        let length = bytes.len() as u64;
        if self.bytes.fetch_add(length, Ordering::Relaxed) + length > self.cap {
            self.evict(SystemTime::now());
        }
        Ok(())
    }

    /// Removes the least recently used chunks until a tenth of the cap is free.
    fn evict(&self, now: SystemTime) {
        let mut entries = entries(&self.folder);
        entries.sort_by_key(|entry| entry.used);
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries {
            if bytes <= self.cap - self.cap / 10 || now < entry.used + SPARED {
                break;
            }
            // Another process may have been faster.
            let _ = fs::remove_file(&entry.path);
            bytes -= entry.bytes;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let name = hash.to_string();
        self.folder.join(&name[..2]).join(&name[2..])
    }
}

struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// All chunks of a store. What cannot be looked at is left out; what was abandoned is removed.
fn entries(folder: &Path) -> Vec<Entry> {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
    let entry = |file: fs::DirEntry| {
        let metadata = file.metadata().ok()?;
        let used = metadata.modified().ok()?;
        let path = file.path();
        if path.extension().is_some() {
            if used + ABANDONED < SystemTime::now() {
                let _ = fs::remove_file(path);
            }
            return None;
        }
        Some(Entry { path, bytes: metadata.len(), used })
    };
    files.filter_map(entry).collect()
}

/// Bytes that the disk of `folder` has left for this user.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Not known here.
#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

/// Writes a file that others see whole or not at all, and creates the folder that it lies in.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let fresh = path.with_extension(format!("{}-{count}", process::id()));
    let written = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(fresh);
    }
    written
}

/// The weights of a model whose chunks are in a store.
#[derive(Debug)]
pub(crate) struct StoreWeights {
    store: Arc<ChunkStore>,
    manifest: Arc<Manifest>,
    /// The chunk that was read last: packing asks for fewer rows at a time than a chunk holds.
    last: Mutex<Option<(Hash, Vec<u8>)>>,
}

impl StoreWeights {
    /// Reads what `manifest` lists from `store`.
    pub(crate) fn new(store: Arc<ChunkStore>, manifest: Arc<Manifest>) -> StoreWeights {
        StoreWeights { store, manifest, last: Mutex::default() }
    }
}

impl WeightSource for StoreWeights {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let missing = |rows| {
            let name = self.manifest.graph().parameters().get(parameter.index());
            let name = name.map_or("an unknown parameter", |shape| shape.name.as_str());
            WeightError::Missing(format!("rows {rows} of {name} are not in the store"))
        };
        // What it holds is whole whenever it is locked, so that a panic elsewhere does no harm.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = features.start;
        for index in self.manifest.chunks_of(parameter, features) {
            let chunk = &self.manifest.chunks()[index as usize];
            let (_, bytes) = match last.take_if(|(hash, _)| *hash == chunk.hash) {
                Some(same) => last.insert(same),
                None => {
                    let bytes = self.store.read(&chunk.hash);
                    last.insert((chunk.hash, bytes.ok_or_else(|| missing(chunk.features))?))
                }
            };
            let row = bytes.len() / chunk.features.len().max(1) as usize;
            let rows = chunk.features.intersect(features);
            let from = (rows.start - chunk.features.start) as usize * row;
            out.extend_from_slice(&bytes[from..from + rows.len() as usize * row]);
            next = rows.end;
        }
        match next >= features.end {
            true => Ok(()),
            false => Err(missing(ChannelRange::new(next, features.end))),
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeld_runtime::models::Vgg;

    use super::*;

    fn store(cap: u64) -> (tempfile::TempDir, ChunkStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = ChunkStore::open(folder.path().join("chunks"), Some(Bytes(cap))).unwrap();
        (folder, store)
    }

    fn has(store: &ChunkStore, hash: &Hash) -> bool {
        store.path(hash).exists()
    }

    /// Stores a chunk that was last used so many seconds ago.
    fn aged(store: &ChunkStore, bytes: &[u8], seconds: u64) -> Hash {
        let hash = Hash::of(bytes);
        store.write(&hash, bytes).unwrap();
        let file = fs::File::options().write(true).open(store.path(&hash)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        hash
    }

    #[test]
    fn chunks_come_back_and_only_as_what_they_are() {
        let (_folder, store) = store(1 << 20);
        let hash = Hash::of(b"weights");
        assert!(!has(&store, &hash));
        assert!(matches!(store.write(&hash, b"others"), Err(StoreError::Mismatch(_))));
        assert!(!has(&store, &hash));
        store.write(&hash, b"weights").unwrap();
        store.write(&hash, b"weights").unwrap();
        assert_eq!(store.read(&hash).unwrap(), b"weights");
        let again = ChunkStore::open(&store.folder, None).unwrap();
        assert_eq!(again.read(&hash).unwrap(), b"weights");
    }

    #[test]
    fn a_damaged_chunk_is_missing() {
        let (_folder, store) = store(1 << 20);
        let hash = Hash::of(b"weights");
        for damage in [&b""[..], b"weight", b"Weights", b"weights and more"] {
            store.write(&hash, b"weights").unwrap();
            fs::write(store.path(&hash), damage).unwrap();
            assert!(has(&store, &hash));
            assert_eq!(store.read(&hash), None);
            assert!(!has(&store, &hash));
        }
    }

    #[test]
    fn what_is_counted_on_stays() {
        let (_folder, store) = store(1000);
        let [counted, other] = [1, 2].map(|byte| aged(&store, &[byte; 300], 5000));
        assert!(store.touch(&counted));
        assert!(!store.touch(&Hash::of(b"never stored")));
        for byte in 3..6 {
            aged(&store, &[byte; 300], 0);
        }
        assert_eq!([counted, other].map(|hash| has(&store, &hash)), [true, false]);
    }

    #[test]
    fn the_least_recently_used_go_first_and_the_recent_ones_stay() {
        let (_folder, store) = store(1000);
        let [oldest, old, used] =
            [(1, 5000), (2, 4000), (3, 6000)].map(|(byte, age)| aged(&store, &[byte; 300], age));
        store.read(&used).unwrap();
        let new = aged(&store, &[4; 300], 0);
        let there = [oldest, old, used, new].map(|hash| has(&store, &hash));
        assert_eq!(there, [false, true, true, true]);

        let busy = [5, 6, 7].map(|byte| aged(&store, &[byte; 300], 0));
        assert!(busy.iter().all(|hash| has(&store, hash)), "larger than the cap, but in use");
        assert!(!has(&store, &old));
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let (_folder, store) = store(1000);
        let chunk = aged(&store, b"whole", 9000);
        let left = store.path(&chunk).with_extension("77-0");
        fs::write(&left, "ha").unwrap();
        assert_eq!(entries(&store.folder).len(), 1);
        assert!(left.exists());
        let file = fs::File::options().write(true).open(&left).unwrap();
        file.set_modified(SystemTime::now() - ABANDONED * 2).unwrap();
        assert_eq!(entries(&store.folder).len(), 1);
        assert!(!left.exists());
    }

    #[test]
    fn threads_that_write_the_same_do_not_disturb_each_other() {
        let (_folder, store) = store(1 << 30);
        let chunks: Vec<Vec<u8>> = (0..20_u8).map(|byte| vec![byte; 10_000]).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in &chunks {
                        let hash = Hash::of(bytes);
                        store.write(&hash, bytes).unwrap();
                        assert_eq!(&store.read(&hash).unwrap(), bytes);
                    }
                });
            }
        });
        assert_eq!(entries(&store.folder).len(), chunks.len());
    }

    #[test]
    fn weights_are_read_across_chunks() {
        let model = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap();
        let manifest = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ()).unwrap();
        let (_folder, store) = store(8 << 30);
        let (store, manifest) = (Arc::new(store), Arc::new(manifest));
        let weights = StoreWeights::new(store.clone(), manifest.clone());
        // The parameter with the most chunks.
        let parameter = (0..).map(ParameterId).take(model.graph.parameters().len());
        let all = |id: &ParameterId| {
            let features = model.graph.parameter(*id).features;
            manifest.chunks_of(*id, ChannelRange::new(0, features))
        };
        let parameter = parameter.max_by_key(|id| all(id).len()).unwrap();
        let rows = ChannelRange::new(100, 300);
        let needed = manifest.chunks_of(parameter, rows);
        assert!(needed.len() > 2, "{needed:?}");
        let (last, others) = (needed.end - 1, needed.start..needed.end - 1);
        for chunk in others {
            let bytes = manifest.read(chunk, &*model.weights).unwrap();
            store.write(&manifest.chunks()[chunk as usize].hash, &bytes).unwrap();
        }
        let error = weights.read(parameter, rows, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, WeightError::Missing(_)), "{error}");

        let bytes = manifest.read(last, &*model.weights).unwrap();
        store.write(&manifest.chunks()[last as usize].hash, &bytes).unwrap();
        let (mut found, mut expected) = (vec![7], vec![7]);
        weights.read(parameter, rows, &mut found).unwrap();
        model.weights.read(parameter, rows, &mut expected).unwrap();
        assert!(found == expected);

        let beyond = ChannelRange::new(rows.end, u32::MAX);
        assert!(weights.read(parameter, beyond, &mut Vec::new()).is_err());
        assert!(weights.read(ParameterId(9999), rows, &mut Vec::new()).is_err());
    }
}
