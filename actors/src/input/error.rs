//! Why an input is rejected.

use std::path::PathBuf;

/// Why an input is rejected.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// `random:` without a valid seed.
    #[error("bad seed {0:?}: expected a whole number, as in random:7")]
    Seed(String),
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not a picture.
    #[error("{}: not a readable picture: {source}", path.display())]
    NotAPicture {
        /// Which file.
        path: PathBuf,
        /// The decoder's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A picture for a model that does not take pictures.
    #[error("{}: a picture, but the model takes {dims:?}, not three channels", path.display())]
    NoPictures {
        /// Which file.
        path: PathBuf,
        /// What the model takes.
        dims: Vec<u64>,
    },
    /// The file is not a valid array.
    #[error("{}: not a valid .npy array: {why}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The array has the wrong shape.
    #[error("{}: the array has shape {found:?}, but the model takes {wanted:?}", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Its shape.
        found: Vec<u64>,
        /// The model's.
        wanted: Vec<u64>,
    },
    /// The array has the wrong element type.
    #[error("{}: the array holds {found}, but the model takes float32 (<f4)", path.display())]
    ElementType {
        /// Which file.
        path: PathBuf,
        /// Its type, as numpy writes it.
        found: String,
    },
}
