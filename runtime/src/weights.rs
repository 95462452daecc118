//! Where weights come from: a model file, a seed, a store of chunks.
//!
//! Kernels pack weights once, when a program is prepared; all they ask of a source is a range of
//! rows of a parameter. A source reads just that range, so nobody holds a whole model that only
//! computes a share of it.

use crate::graph::ParameterId;
use crate::region::ChannelRange;

/// Gives out the rows of a graph's parameters.
pub trait WeightSource: Send + Sync {
    /// Appends rows `features` of `parameter` to `out`, little-endian in the parameter's own
    /// [`DType`](crate::graph::DType): `features.len()` times its row bytes.
    ///
    /// # Errors
    /// When they cannot be read; `out` is then unspecified.
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError>;

    /// What these weights are, if that can be told without reading them: the same text stands
    /// for the same bytes. What was derived from them may be kept under it.
    fn origin(&self) -> Option<String> {
        None
    }
}

/// Why weights could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The parameter or some of its rows are not there.
    #[error("{0}")]
    Missing(String),
    /// What is there is not what the manifest promises.
    #[error("{0}")]
    Corrupt(String),
    /// The file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}
