//! Weights on disk: chunks of models, each in a file named by its hash.
//!
//! A chunk is written under a temporary name and then renamed, so any number of processes can share
//! a store without locks; at worst two write the same bytes. Its hash is checked on every read.
//! [`read`](ChunkStore::read) and [`touch`](ChunkStore::touch) mark a chunk as used. When the store
//! exceeds its cap, the least recently used chunks are evicted; recently used ones only when it exceeds
//! its cap by half, or the disk is full.

use std::collections::VecDeque;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use edgeld_runtime::graph::ParameterId;
use edgeld_runtime::manifest::{Hash, Manifest};
use edgeld_runtime::region::ChannelRange;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::weights::{WeightError, WeightSource};

/// Default size limit of a store, in bytes.
const DEFAULT_CAP: u64 = 8 << 30;

/// Chunks used within this time are spared: a program may be about to be prepared from them.
const KEEP_RECENT: Duration = Duration::from_secs(600);

/// Temporary files of dead processes are removed after this time.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Why a chunk could not be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The bytes have another hash.
    #[error("the data received does not match chunk {0}")]
    Mismatch(Hash),
    /// The disk is full or not writable.
    #[error("{path}: {source}; free some space, or set EDGELD_HOME to a directory on another disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Chunks on disk.
#[derive(Debug)]
pub(crate) struct ChunkStore {
    folder: PathBuf,
    cap: u64,
    /// Bytes in the store as far as this process knows; recounted at every eviction.
    bytes: AtomicU64,
}

impl ChunkStore {
    /// Opens or creates a store limited to `cap`. The default is 8 GiB, or half of the disk space
    /// available to the store if that is less.
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
        let half = || free_space(&folder).map_or(u64::MAX, |free| (free + bytes) / 2);
        let cap = cap.map_or_else(|| DEFAULT_CAP.min(half()), |cap| cap.0);
        Ok(ChunkStore { folder, cap, bytes: AtomicU64::new(bytes) })
    }

    /// Whether so many bytes fit under the cap, if older chunks make room.
    pub(crate) fn may_hold(&self, bytes: Bytes) -> bool {
        bytes.0 <= self.cap
    }

    /// Whether a chunk of this size is present. Marks it as used, which protects it from eviction for
    /// a while. A loss of power may leave a file without its content.
    pub(crate) fn touch(&self, hash: &Hash, bytes: Bytes) -> bool {
        let path = self.path(hash);
        // Best effort: a read-only store still works.
        let opened = fs::File::options().write(true).open(&path);
        let _ = opened.and_then(|file| file.set_modified(SystemTime::now()));
        path.metadata().is_ok_and(|metadata| metadata.len() == bytes.0)
    }

    /// A chunk's bytes, verified. A damaged chunk is removed and counts as missing.
    pub(crate) fn read(&self, hash: &Hash) -> Option<Vec<u8>> {
        let path = self.path(hash);
        let bytes = fs::read(&path).ok()?;
        if Hash::of(&bytes) != *hash {
            tracing::warn!("{}: damaged chunk; it will be fetched again", path.display());
            let _ = fs::remove_file(path);
            return None;
        }
        self.touch(hash, Bytes(bytes.len() as u64));
        Some(bytes)
    }

    /// Stores a chunk. If the disk is full, others make room for it.
    ///
    /// # Errors
    /// When the bytes have another hash or cannot be written.
    pub(crate) fn write(&self, hash: &Hash, bytes: &[u8]) -> Result<(), StoreError> {
        if Hash::of(bytes) != *hash {
            return Err(StoreError::Mismatch(*hash));
        }
        let path = self.path(hash);
        let length = bytes.len() as u64;
        let mut written = write_atomically(&path, bytes);
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            let now = self.bytes.load(Ordering::Relaxed);
            let less = now.saturating_sub((now / 10).max(length));
            self.evict(SystemTime::now(), less, less);
            written = write_atomically(&path, bytes);
        }
        written.map_err(|source| StoreError::Io { path, source })?;
        if self.bytes.fetch_add(length, Ordering::Relaxed) + length > self.cap {
            self.evict(SystemTime::now(), self.cap - self.cap / 10, self.cap + self.cap / 2);
        }
        Ok(())
    }

    /// Evicts the least recently used chunks until at most `wanted` bytes are left; down to `limit`
    /// even those that were used recently.
    fn evict(&self, now: SystemTime, wanted: u64, limit: u64) {
        let mut entries = entries(&self.folder);
        // A clock that was set back leaves times of the future, which say nothing.
        let used =
            |entry: &Entry| if entry.used > now { SystemTime::UNIX_EPOCH } else { entry.used };
        entries.sort_by_key(used);
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries {
            let is_recent = now < used(&entry) + KEEP_RECENT;
            if bytes <= wanted || is_recent && bytes <= limit {
                break;
            }
            // Another process may have removed it already.
            let _ = fs::remove_file(&entry.path);
            bytes -= entry.bytes;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn path(&self, hash: &Hash) -> PathBuf {
        let name = hash.to_string();
        self.folder.join(&name[..2]).join(&name[2..])
    }
}

struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// All readable chunks of a store. Abandoned temporary files are removed.
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

/// Bytes that this user can still write to the disk of `folder`.
#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Unknown on this system.
#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

/// Writes a file atomically; creates its folder if needed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Not the process's number: processes of several containers may share a store.
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{:016x}-{count}", *PROCESS));
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written
}

/// The weights of a model, read from the chunks in a store.
#[derive(Debug)]
pub(crate) struct StoreWeights {
    store: Arc<ChunkStore>,
    manifest: Arc<Manifest>,
    /// The chunks read last, newest first: packing reads fewer rows at a time than a chunk holds, and
    /// those of a weight and of a bias by turns.
    last: Mutex<VecDeque<(Hash, Vec<u8>)>>,
}

/// How many chunks stay in memory while weights are packed.
const LAST: usize = 3;

impl StoreWeights {
    /// The weights listed in `manifest`, read from `store`.
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
        // The value is always consistent, so poisoning can be ignored.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = features.start;
        for index in self.manifest.chunks_of(parameter, features) {
            let chunk = &self.manifest.chunks()[index as usize];
            let known = last.iter().position(|(hash, _)| *hash == chunk.hash);
            let bytes = match known.and_then(|at| last.remove(at)) {
                Some((_, bytes)) => bytes,
                None => {
                    let read = self.store.read(&chunk.hash);
                    last.truncate(LAST - 1);
                    read.ok_or_else(|| missing(chunk.features))?
                }
            };
            let row = bytes.len() / chunk.features.len().max(1) as usize;
            let rows = chunk.features.intersect(features);
            let from = (rows.start - chunk.features.start) as usize * row;
            out.extend_from_slice(&bytes[from..from + rows.len() as usize * row]);
            last.push_front((chunk.hash, bytes));
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

    fn exists(store: &ChunkStore, hash: &Hash) -> bool {
        store.path(hash).exists()
    }

    /// Stores a chunk last used `seconds` ago.
    fn aged(store: &ChunkStore, bytes: &[u8], seconds: u64) -> Hash {
        let hash = Hash::of(bytes);
        store.write(&hash, bytes).unwrap();
        let file = fs::File::options().write(true).open(store.path(&hash)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        hash
    }

    #[test]
    fn chunks_come_back_and_mismatches_are_rejected() {
        let (_folder, store) = store(1 << 20);
        let hash = Hash::of(b"weights");
        assert!(!exists(&store, &hash));
        assert!(matches!(store.write(&hash, b"others"), Err(StoreError::Mismatch(_))));
        assert!(!exists(&store, &hash));
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
            assert!(exists(&store, &hash));
            assert_eq!(store.read(&hash), None);
            assert!(!exists(&store, &hash));
        }
    }

    #[test]
    fn a_chunk_without_its_content_is_missing() {
        let (_folder, store) = store(1 << 20);
        let hash = Hash::of(b"weights");
        store.write(&hash, b"weights").unwrap();
        assert!(store.touch(&hash, Bytes(7)));
        // As a loss of power leaves it.
        fs::write(store.path(&hash), b"").unwrap();
        assert!(!store.touch(&hash, Bytes(7)));
        store.write(&hash, b"weights").unwrap();
        assert!(store.touch(&hash, Bytes(7)));
    }

    #[test]
    fn what_was_used_in_the_future_goes_first() {
        let (_folder, store) = store(1000);
        let [old, older] =
            [(1, 4000), (2, 5000)].map(|(byte, age)| aged(&store, &[byte; 300], age));
        let future = aged(&store, &[3; 300], 0);
        let file = fs::File::options().write(true).open(store.path(&future)).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1_000_000)).unwrap();
        aged(&store, &[4; 300], 0);
        let present = [old, older, future].map(|hash| exists(&store, &hash));
        assert_eq!(present, [true, true, false]);
    }

    #[test]
    fn touched_chunks_stay() {
        let (_folder, store) = store(1000);
        let [touched, other] = [1, 2].map(|byte| aged(&store, &[byte; 300], 5000));
        assert!(store.touch(&touched, Bytes(300)));
        assert!(!store.touch(&Hash::of(b"never stored"), Bytes(300)));
        for byte in 3..6 {
            aged(&store, &[byte; 300], 0);
        }
        assert_eq!([touched, other].map(|hash| exists(&store, &hash)), [true, false]);
    }

    #[test]
    fn the_least_recently_used_go_first_and_the_recent_ones_stay() {
        let (_folder, store) = store(1000);
        let [oldest, old, used] =
            [(1, 5000), (2, 4000), (3, 6000)].map(|(byte, age)| aged(&store, &[byte; 300], age));
        store.read(&used).unwrap();
        let new = aged(&store, &[4; 300], 0);
        let present = [oldest, old, used, new].map(|hash| exists(&store, &hash));
        assert_eq!(present, [false, true, true, true]);

        let busy = [5, 6].map(|byte| aged(&store, &[byte; 300], 0));
        assert!(busy.iter().all(|hash| exists(&store, hash)), "larger than the cap, but in use");
        assert!(!exists(&store, &old));

        for byte in 7..100 {
            aged(&store, &[byte; 300], 0);
            let bytes: u64 = entries(&store.folder).iter().map(|entry| entry.bytes).sum();
            assert!(bytes <= 1500, "{bytes}");
        }
    }

    #[test]
    fn abandoned_temporary_files_are_removed() {
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
    fn threads_can_write_the_same_chunks() {
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
