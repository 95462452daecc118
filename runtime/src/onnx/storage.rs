//! Positioned reads from a file on disk or a model that is part of the program.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where a model's bytes are. Reads are cheap and may come from several threads at once.
#[derive(Debug)]
pub(crate) struct Storage {
    /// For messages.
    path: PathBuf,
    len: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(Reader),
    Memory(&'static [u8]),
}

impl Storage {
    pub(super) fn open(path: &Path) -> io::Result<Storage> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let place = Place::File(Reader::new(file));
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
            Place::File(_) => self.path.parent(),
            Place::Memory(_) => None,
        }
    }

    /// Fills `buffer` with the bytes at `offset`.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.place {
            Place::File(file) => file.read_at(offset, buffer),
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
}
