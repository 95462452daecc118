//! Why an input is refused.

use std::path::PathBuf;

/// Why an input is refused.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// `random:` with something that is no seed.
    #[error("{0:?} is no seed: a whole number is, as in random:7")]
    Seed(String),
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is no picture.
    #[error("{}: no picture that can be read: {source}", path.display())]
    NotAPicture {
        /// Which file.
        path: PathBuf,
        /// What the decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A picture for a model that takes none.
    #[error("{}: a picture, but the model takes {dims:?}, no map of three channels", path.display())]
    NoPictures {
        /// Which file.
        path: PathBuf,
        /// What the model takes.
        dims: Vec<u64>,
    },
    /// A file that is no array.
    #[error("{}: no .npy array: {why}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An array of another shape.
    #[error("{}: an array of shape {found:?}, the model takes {wanted:?}", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Its shape.
        found: Vec<u64>,
        /// The model's.
        wanted: Vec<u64>,
    },
    /// An array of another type.
    #[error("{}: an array of {found}, the model takes float32 (<f4)", path.display())]
    ElementType {
        /// Which file.
        path: PathBuf,
        /// Its type, as numpy writes it.
        found: String,
    },
}
