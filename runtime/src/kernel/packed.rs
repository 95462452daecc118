//! Weights in the form that the kernels need: this project's or burn's.

use std::sync::Arc;

use super::conv::weights::{Packing, Reader, Weights};
use super::error::KernelError;
use super::kind::KernelKind;
use super::reference;
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
    /// Reads `features` of a layer, reusing what `earlier` ones have. The input has this shape.
    pub(crate) fn read(
        (kind, packing): (KernelKind, Packing),
        mut reader: Reader<'_>,
        conv: &Conv,
        shape: Shape,
        features: ChannelRange,
        earlier: &[&Packed],
    ) -> Result<Packed, KernelError> {
        if kind == KernelKind::Burn {
            let mut held = earlier.iter().filter_map(|packed| match packed {
                Packed::Burn(weights) if weights.features == features => Some(weights),
                _ => None,
            });
            return Ok(Packed::Burn(match held.next() {
                Some(weights) => Arc::clone(weights),
                None => Arc::new(reference::Weights::read(&mut reader, conv, shape, features)?),
            }));
        }
        let held = earlier.iter().filter_map(|packed| match packed {
            Packed::Own(weights) => Some(weights),
            Packed::Burn(_) => None,
        });
        let held: Vec<&Weights> = held.collect();
        Ok(Packed::Own(Weights::pack(&mut reader, conv, shape, features, packing, &held)?))
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
