//! Positioned reads from a file on disk or a model that is part of the program.
//!
//! A file that is written to while it is in use fails to be read from then on: devices that read it
//! before and after would compute with different weights. One that is replaced, as most programs save
//! files, is read as it was.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Where a model's bytes are. Reads are cheap and may come from several threads at once.
#[derive(Debug)]
pub(crate) struct Storage {
    /// For messages.
    path: PathBuf,
    len: u64,
    place: Place,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    len: u64,
    /// Since 1970; what is older counts as of then.
    modified: Duration,
}

impl Version {
    fn of(metadata: &Metadata) -> io::Result<Version> {
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Version { len: metadata.len(), modified })
    }
}

#[derive(Debug)]
enum Place {
    /// As it was when it was opened.
    File(Reader, Version),
    Memory(&'static [u8]),
}

impl Storage {
    pub(super) fn open(path: &Path) -> io::Result<Storage> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let place = Place::File(Reader::new(file), Version::of(&metadata)?);
        Ok(Storage { path: path.to_owned(), len: metadata.len(), place })
    }

    pub(super) fn memory(name: &str, bytes: &'static [u8]) -> Storage {
        Storage { path: name.into(), len: bytes.len() as u64, place: Place::Memory(bytes) }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that files named in the model are relative to.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self.place {
            Place::File(..) => self.path.parent(),
            Place::Memory(_) => None,
        }
    }

    /// Identifies the content of a file: its path, its size, and when it was last written to before
    /// it was opened.
    pub(super) fn origin(&self) -> Option<String> {
        let Place::File(_, Version { len, modified }) = &self.place else { return None };
        let path = self.path.canonicalize().ok()?;
        Some(format!("{} {len} {}", path.display(), modified.as_nanos()))
    }

    /// Fills `buffer` with the bytes at `offset`.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.place {
            Place::File(file, version) => {
                file.read_at(offset, buffer)?;
                match Version::of(&file.metadata()?)? == *version {
                    true => Ok(()),
                    false => Err(io::Error::other(
                        "the file was written to while it was in use; load the model again",
                    )),
                }
            }
            Place::Memory(bytes) => {
                let part = usize::try_from(offset)
                    .ok()
                    .and_then(|start| bytes.get(start..)?.get(..buffer.len()))
                    .ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(part);
                Ok(())
            }
        }
    }

    /// Appends the `length` bytes at `offset` to `out`. Nothing is allocated for bytes that the
    /// file did not have when it was opened.
    pub(super) fn append(&self, offset: u64, length: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let held = offset.checked_add(length).is_some_and(|end| end <= self.len);
        let length = usize::try_from(length).ok().filter(|_| held);
        let length = length.ok_or(io::ErrorKind::UnexpectedEof)?;
        let start = out.len();
        out.resize(start + length, 0);
        self.read_at(offset, &mut out[start..])
    }
}

/// A file with positioned reads.
#[cfg(unix)]
#[derive(Debug)]
struct Reader(File);

#[cfg(unix)]
impl Reader {
    fn new(file: File) -> Reader {
        Reader(file)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }
}

/// A file with one position, shared under a lock.
#[cfg(not(unix))]
#[derive(Debug)]
struct Reader(std::sync::Mutex<File>);

#[cfg(not(unix))]
impl Reader {
    fn new(file: File) -> Reader {
        Reader(std::sync::Mutex::new(file))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        // Every use seeks first, so a panicked reader leaves no state that matters.
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).metadata()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_written_to_fails_and_one_that_is_replaced_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        fs::write(&path, b"before").unwrap();
        let storage = Storage::open(&path).unwrap();
        let read = |storage: &Storage| {
            let mut bytes = Vec::new();
            storage.append(0, 6, &mut bytes).map(|()| bytes)
        };
        assert_eq!(read(&storage).unwrap(), b"before");
        let new = folder.path().join("new");
        fs::write(&new, b"after!").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(read(&storage).unwrap(), b"before");

        let storage = Storage::open(&path).unwrap();
        let origin = storage.origin().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        // As if it had been written to now; clocks of file systems are coarse.
        file.set_modified(UNIX_EPOCH).unwrap();
        let error = read(&storage).unwrap_err().to_string();
        assert!(error.contains("load the model again"), "{error}");
        assert_eq!(storage.origin().unwrap(), origin);
        assert_ne!(Storage::open(&path).unwrap().origin().unwrap(), origin);
    }
}
