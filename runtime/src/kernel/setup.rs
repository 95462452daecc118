//! How a device computes: which kernels, with which instructions, in how much memory.

use std::collections::BTreeMap;

use super::conv::algorithm::Algorithm;
use super::conv::weights::{self, Packing};
use super::error::KernelError;
use super::kind::KernelKind;
use super::layout;
use super::simd::element::reads_halves;
use super::simd::isa::Isa;
use crate::graph::{BlockId, DType, Graph, LayerId, Op, Tile};
use crate::region::Region;
use crate::units::Bytes;

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
    /// Whether convolutions are computed with weights as they are packed already, though others would be
    /// faster: for plans that run for a short while.
    pub reuse: bool,
    /// What packed weights are kept as; float32 in any case where the instructions cannot read
    /// halves. [`KernelKind::Burn`] takes float32 only.
    pub weights: DType,
}

impl From<KernelKind> for Setup {
    /// With all instructions of this machine, no limit of memory, weights of float32, in the fastest form.
    fn from(kind: KernelKind) -> Setup {
        Setup { kind, isa: Isa::detect(), memory: None, reuse: false, weights: DType::F32 }
    }
}

impl Setup {
    /// The blocks of packed weights that these regions of layers need, and the bytes of each. `held` says
    /// which are packed already.
    ///
    /// # Errors
    /// When the graph has no such regions, or burn's operators should use halves.
    pub fn blocks(
        &self,
        graph: &Graph,
        regions: &BTreeMap<LayerId, Region>,
        held: impl Fn(&BlockId) -> bool,
    ) -> Result<BTreeMap<BlockId, Bytes>, KernelError> {
        let mut blocks = BTreeMap::new();
        for (id, packing) in self.packings(graph, regions, held)? {
            if let Op::Conv(conv) = &graph.layer(id).op {
                let (shape, features) = (graph.input_shapes(id)[0], regions[&id].channels);
                blocks.extend(weights::blocks((id, conv), shape, features, packing));
            }
        }
        Ok(blocks)
    }

    /// How the weights of each convolution in `regions` are packed.
    ///
    /// # Errors
    /// As [`Setup::blocks`].
    pub(super) fn packings(
        &self,
        graph: &Graph,
        regions: &BTreeMap<LayerId, Region>,
        held: impl Fn(&BlockId) -> bool,
    ) -> Result<BTreeMap<LayerId, Packing>, KernelError> {
        if self.kind == KernelKind::Burn && self.weights != DType::F32 {
            return Err(KernelError::BurnWeights(self.weights));
        }
        for (id, region) in regions {
            let known = id.index() < graph.layers().len();
            if !known || !graph.output_shape(*id).region().covers(*region) {
                return Err(KernelError::NoSuchLayer { layer: id.0, features: region.channels });
            }
        }
        let dtype = match reads_halves(self.isa.arch().unwrap_or_default()) {
            true => self.weights,
            false => DType::F32,
        };
        let lanes = layout::lanes(graph, self.kind);
        let algorithms = Setup { weights: dtype, ..*self }.algorithms(graph, regions).into_iter();
        let packing = |(id, algorithm): (LayerId, Algorithm)| {
            let layer = graph.layer(id);
            let lanes = lanes[layer.inputs[0].index()];
            let fastest = Packing { algorithm, lanes, dtype };
            let Op::Conv(conv) = &layer.op else { return (id, fastest) };
            let (shape, features) = (graph.input_shapes(id)[0], regions[&id].channels);
            let is_held = |packing: &Packing| {
                let mut blocks = weights::blocks((id, conv), shape, features, *packing);
                blocks.all(|(block, _)| held(&block))
            };
            let others = Tile::ALL.map(Algorithm::Winograd).into_iter().chain([Algorithm::Direct]);
            let others = others.map(|algorithm| Packing { algorithm, ..fastest });
            // Dense and depthwise layers have one form only.
            let has_others = matches!(algorithm, Algorithm::Winograd(_) | Algorithm::Direct);
            let reused = (self.reuse && has_others && !is_held(&fastest))
                .then(|| others.into_iter().find(is_held))
                .flatten();
            (id, reused.unwrap_or(fastest))
        };
        Ok(algorithms.map(packing).collect())
    }

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
