//! Where weights come from: a model file, a seed, or a store of chunks.
//!
//! Kernels pack weights once, when a program is prepared, and ask a source only for ranges of rows
//! of parameters. A source reads just those, so a device that computes a share never holds the
//! whole model.

use crate::graph::ParameterId;
use crate::region::ChannelRange;

/// Supplies rows of a graph's parameters.
pub trait WeightSource: Send + Sync {
    /// Appends rows `features` of `parameter` to `out`, little-endian in the parameter's own
    /// [`DType`](crate::graph::DType): `features.len()` times its row bytes.
    ///
    /// # Errors
    /// When they cannot be read; the contents of `out` are then unspecified.
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError>;

    /// Identifies these weights, if that is possible without reading them: equal text means equal
    /// bytes. It can serve as a cache key for what is derived from them.
    fn origin(&self) -> Option<String> {
        None
    }
}

/// Why weights could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The parameter or some of its rows do not exist.
    #[error("{0}")]
    Missing(String),
    /// The bytes are not those that the manifest promises.
    #[error("{0}")]
    Corrupt(String),
    /// The file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
}
