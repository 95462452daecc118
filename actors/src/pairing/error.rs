//! Why devices are not paired.

use std::io;

/// Why devices were not paired.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// It is no code.
    #[error("{0:?} is not a code: six digits are needed, as in 481-920")]
    Code(String),
    /// The code is another one.
    #[error("the code is another one than the other device shows")]
    WrongCode,
    /// Too many wrong codes came.
    #[error("three wrong codes came: somebody guesses, or mistypes")]
    Guesses,
    /// Nobody came, or nobody was found, in time.
    #[error("{0}")]
    Nobody(String),
    /// The other side is something else, or of another version.
    #[error("the other side does not pair: {0}")]
    Other(String),
    /// The network does not work.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// No random numbers, or a broken message.
    #[error("cannot pair: {0}")]
    Failed(String),
}
