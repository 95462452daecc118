//! A strip: a region of a tensor on its way from one device to another.
//!
//! The payload is raw little-endian float32 in the order blocks of channels x rows x width x lanes
//! (one lane is plain NCHW), or planar u8 pixels for an input that travels as a picture. Blocks are
//! those of the whole tensor; if the strip covers only part of a block, only those channels travel.

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, TensorId};
use crate::ids::SessionId;
use crate::plan::Generation;
use crate::program::{Encoding, Transfer, TransferId};
use crate::region::Region;

/// The header of a strip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripHeader {
    /// The session it belongs to.
    pub session: SessionId,
    /// The plan it belongs to.
    pub generation: Generation,
    /// The frame it belongs to.
    pub frame: u64,
    /// Which of the plan's transfers it is.
    pub transfer: TransferId,
    /// Which tensor it is part of.
    pub tensor: TensorId,
    /// Which part.
    pub region: Region,
    /// Channels that lie side by side in memory.
    pub lanes: u16,
}

/// Why a strip is not what the plan says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripError {
    /// Tensor or region differ from the plan's.
    #[error("transfer {} is {} of tensor {}, the plan says {} of tensor {}",
        header.transfer.0, header.region, header.tensor.0, expected.region, expected.tensor.0)]
    Mismatch {
        /// The strip that arrived.
        header: Box<StripHeader>,
        /// What the plan says.
        expected: Box<Transfer>,
    },
    /// A payload that is too short or too long.
    #[error("a payload of {found} bytes; {expected} were expected")]
    Length {
        /// Bytes that arrived.
        found: usize,
        /// Bytes that the plan implies.
        expected: u64,
    },
    /// A layout that is impossible.
    #[error("a strip with {0} lanes")]
    Lanes(u16),
}

impl StripHeader {
    /// Checks a strip against the transfer that the plan says it is.
    ///
    /// # Errors
    /// When the tensor, region or length of the payload differs, or there are no lanes.
    pub(crate) fn check(
        &self,
        payload: usize,
        expected: &Transfer,
        graph: &Graph,
        encodings: &[Encoding],
    ) -> Result<(), StripError> {
        if self.tensor != expected.tensor || self.region != expected.region {
            return Err(StripError::Mismatch {
                header: Box::new(self.clone()),
                expected: Box::new(expected.clone()),
            });
        }
        if self.lanes == 0 {
            return Err(StripError::Lanes(self.lanes));
        }
        let bytes = expected.bytes(graph, encodings).0;
        if payload as u64 != bytes {
            return Err(StripError::Length { found: payload, expected: bytes });
        }
        Ok(())
    }
}
