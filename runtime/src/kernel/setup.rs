//! How a device computes: which kernels, with which instructions, in how much memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conv::algorithm::Algorithm;
use super::conv::weights;
use super::simd::isa::Isa;
use crate::graph::{DType, Graph, LayerId, Op};
use crate::region::Region;
use crate::units::Bytes;

/// Which kernels compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelKind {
    /// burn-ndarray's own operators: the reference against which the others are tested.
    Burn,
    /// Every output's order of summation depends on the layer alone: the same bits for every plan.
    Exact,
    /// The fastest; within 1e-4 of the largest logit. Convolutions are transformed where that is
    /// faster, which depends on a share's height and memory: other plans may give other bits.
    Fast,
}

/// How a device computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Which kernels compute.
    pub kind: KernelKind,
    /// Which instructions they may use; if the machine lacks them, the best that it has.
    pub isa: Isa,
    /// How much packed weights should take at most. Transformed weights are several times larger:
    /// those that gain least are replaced by plain ones until the limit is met.
    pub memory: Option<Bytes>,
    /// What packed weights are kept as; float32 in any case where the instructions cannot read
    /// halves. [`KernelKind::Burn`] takes float32 only.
    pub weights: DType,
}

impl From<KernelKind> for Setup {
    /// With all instructions of this machine, no limit of memory, and weights of float32.
    fn from(kind: KernelKind) -> Setup {
        Setup { kind, isa: Isa::detect(), memory: None, weights: DType::F32 }
    }
}

impl Setup {
    /// The algorithm for each convolution in `regions`.
    pub(crate) fn algorithms(
        &self,
        graph: &Graph,
        regions: &BTreeMap<LayerId, Region>,
    ) -> BTreeMap<LayerId, Algorithm> {
        let convolution = |id: LayerId| match &graph.layer(id).op {
            Op::Conv(conv) => Some((conv, graph.input_shapes(id)[0])),
            _ => None,
        };
        let chosen = regions.iter().filter_map(|(&id, region)| {
            let (conv, shape) = convolution(id)?;
            Some((
                id,
                match self.kind {
                    KernelKind::Fast => {
                        Algorithm::fastest(conv, shape, region.rows.len(), self.weights)
                    }
                    _ => Algorithm::of(conv, shape),
                },
            ))
        });
        let mut chosen: BTreeMap<LayerId, Algorithm> = chosen.collect();
        let Some(Bytes(limit)) = self.memory else { return chosen };
        let bytes = |id: LayerId, algorithm: Algorithm| {
            convolution(id).map_or(0, |(conv, shape)| {
                weights::bytes(algorithm, conv, shape, regions[&id].channels, self.weights)
            })
        };
        let mut total: u64 = chosen.iter().map(|(id, algorithm)| bytes(*id, *algorithm)).sum();
        // A transform saves a fraction of the products, and a weight has one product per pixel.
        let mut transformed: Vec<LayerId> = chosen.keys().copied().collect();
        transformed.retain(|id| matches!(chosen[id], Algorithm::Winograd(_)));
        transformed.sort_by_key(|id| {
            u64::from(graph.output_shape(*id).width) * u64::from(regions[id].rows.len())
        });
        for id in transformed {
            if total <= limit {
                break;
            }
            total -= bytes(id, chosen[&id]) - bytes(id, Algorithm::Direct);
            chosen.insert(id, Algorithm::Direct);
        }
        chosen
    }
}
