//! A strip: a region of a tensor on its way from one device to another.
//!
//! The payload is raw little-endian float32, or float16 if the [plan](crate::plan::Plan::wire) says
//! so, in the order blocks of channels x rows x width x lanes (one lane is plain NCHW), or planar u8
//! pixels for an input that travels as a picture. Blocks are those of the whole tensor; if the strip
//! covers only part of a block, only those channels travel.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Activation, Builder, DType, Op, Shape};
    use crate::plan::{Cuts, Plan, Split, Stage};
    use crate::program::derive;

    #[test]
    fn a_strip_is_as_long_as_its_elements_say() {
        let mut builder = Builder::new("twice");
        let x = builder.input("x", Shape::new(4, 8, 6), vec![4, 8, 6]).unwrap();
        let sum = builder.layer("sum", Op::Add, &[x, x], Activation::Linear).unwrap();
        builder.output("y", sum, vec![4, 8, 6]).unwrap();
        let graph = builder.finish().unwrap();
        let split = Split::Rows(Cuts::from_lengths([5, 3]));
        let plan = Plan::new(2, vec![Stage { layers: 0..1, split }]);
        let pixels = Encoding::Pixels { mean: [0.0; 3], std: [1.0; 3] };
        for (wire, encoding, size) in [
            (DType::F32, Encoding::F32, 4),
            (DType::F16, Encoding::F32, 2),
            (DType::F16, pixels, 1),
        ] {
            let transfers = derive(&graph, &Plan { wire, ..plan.clone() }).unwrap().transfers;
            let header = StripHeader {
                session: SessionId(0),
                generation: Generation(1),
                frame: 0,
                transfer: TransferId(0),
                tensor: transfers[0].tensor,
                region: transfers[0].region,
                lanes: 16,
            };
            let elements = 4 * 3 * 6;
            for other in [1, 2, 4] {
                let checked = header.check(elements * other, &transfers[0], &graph, &[encoding]);
                assert_eq!(checked.is_ok(), other == size, "{wire} {encoding:?}: {checked:?}");
            }
        }
    }
}
