//! Weights in the form that the kernels need: this project's or burn's.

use std::sync::Arc;

use super::conv::weights::{Packing, Reader, Weights};
use super::error::KernelError;
use super::reference;
use super::setup::KernelKind;
use crate::graph::{Conv, Shape};
use crate::region::ChannelRange;

/// Weights of some features of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Packed {
    /// For this project's kernels.
    Own(Weights),
    /// For burn's operators.
    Burn(Arc<reference::Weights>),
}

impl Packed {
    /// Reads `features` of a layer, reusing what `previous` has. The input has this shape.
    pub(crate) fn read(
        (kind, packing): (KernelKind, Packing),
        mut reader: Reader<'_>,
        conv: &Conv,
        shape: Shape,
        features: ChannelRange,
        previous: Option<&Packed>,
    ) -> Result<Packed, KernelError> {
        Ok(match (kind, previous) {
            (KernelKind::Burn, Some(Packed::Burn(held))) if held.features == features => {
                Packed::Burn(Arc::clone(held))
            }
            (KernelKind::Burn, _) => {
                let weights = reference::Weights::read(&mut reader, conv, shape, features)?;
                Packed::Burn(Arc::new(weights))
            }
            (KernelKind::Exact | KernelKind::Fast, previous) => {
                let held = match previous {
                    Some(Packed::Own(weights)) => Some(weights),
                    _ => None,
                };
                Packed::Own(Weights::pack(&mut reader, conv, shape, features, packing, held)?)
            }
        })
    }

    /// The features that it holds weights for.
    pub(crate) fn features(&self) -> ChannelRange {
        match self {
            Packed::Own(weights) => weights.features(),
            Packed::Burn(weights) => weights.features,
        }
    }

    /// Bytes in memory.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Packed::Own(weights) => weights.bytes(),
            Packed::Burn(weights) => weights.bytes(),
        }
    }
}
