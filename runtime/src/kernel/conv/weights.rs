//! Packs weights into the form that kernels read.
//!
//! Weights are kept in blocks of [`LANES`] features, those of the output's layout. Each block is
//! read, packed and shared on its own: packing never holds more than one block twice, and a new
//! plan takes over the blocks of earlier ones even if shares have grown or shrunk. Features
//! 16..32 are the same block for every device that computes them. A block's elements are floats or
//! halves, all of a layer the same.

use std::sync::Arc;

use half::f16;

use super::algorithm::Algorithm;
use super::taps;
use super::winograd::pack::pack;
use crate::graph::{BlockId, Conv, DType, Form, Graph, Layer, LayerId, ParameterId, Shape};
use crate::kernel::error::KernelError;
use crate::kernel::memory::lanes::{BLOCK, LANES};
use crate::kernel::simd::element::Element;
use crate::region::ChannelRange;
use crate::units::Bytes;
use crate::weights::WeightSource;

/// The blocks that `features` of a layer are packed into, and the bytes of each.
pub(crate) fn blocks(
    (layer, conv): (LayerId, &Conv),
    shape: Shape,
    features: ChannelRange,
    Packing { algorithm, lanes, dtype }: Packing,
) -> impl Iterator<Item = (BlockId, Bytes)> {
    let form = form_of(algorithm, lanes);
    features.blocks().map(move |block| {
        let first = block * LANES;
        let part = ChannelRange::new(first, first + LANES).intersect(features);
        let bytes = Bytes(bytes(algorithm, conv, shape, part, dtype));
        (BlockId { layer, first, form, dtype }, bytes)
    })
}

/// Packed weights of some features of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Weights {
    Floats(Panels<f32>),
    Halves(Panels<f16>),
}

/// The same, with the type of the elements known.
#[derive(Debug, Clone)]
pub(crate) struct Panels<W> {
    pub(crate) features: ChannelRange,
    /// The algorithm that uses them.
    pub(crate) algorithm: Algorithm,
    form: Form,
    /// Consecutive blocks.
    blocks: Vec<Arc<Block<W>>>,
}

/// Packed weights of the features of a block of output channels.
#[derive(Debug)]
pub(crate) struct Block<W> {
    /// The block's first feature, whether or not there are weights for it.
    pub(crate) first: u32,
    /// The features for which it has weights.
    features: ChannelRange,
    /// In the layer's [`Form`], with the scale applied.
    pub(crate) weights: Vec<W>,
    /// A summand per feature, starting with `first`.
    pub(crate) bias: [f32; BLOCK],
}

/// The form in which weights are packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing {
    /// The algorithm that uses them.
    pub(crate) algorithm: Algorithm,
    /// Lanes of the input's maps.
    pub(crate) lanes: u32,
    /// What they are kept as.
    pub(crate) dtype: DType,
}

impl Weights {
    /// Reads and packs `features` of a layer, taking over blocks of `earlier` ones. The input has
    /// this shape.
    pub(crate) fn pack(
        reader: &mut Reader<'_>,
        conv: &Conv,
        shape: Shape,
        features: ChannelRange,
        packing: Packing,
        earlier: &[&Weights],
    ) -> Result<Weights, KernelError> {
        let Packing { algorithm, lanes, dtype } = packing;
        let how = (algorithm, lanes);
        Ok(match dtype {
            DType::F32 => {
                let held = earlier.iter().filter_map(|weights| match weights {
                    Weights::Floats(panels) => Some(panels),
                    Weights::Halves(_) => None,
                });
                let held: Vec<_> = held.collect();
                Weights::Floats(Panels::pack(reader, conv, shape, features, how, &held)?)
            }
            DType::F16 => {
                let held = earlier.iter().filter_map(|weights| match weights {
                    Weights::Halves(panels) => Some(panels),
                    Weights::Floats(_) => None,
                });
                let held: Vec<_> = held.collect();
                Weights::Halves(Panels::pack(reader, conv, shape, features, how, &held)?)
            }
        })
    }

    /// The features that there are weights for.
    pub(crate) fn features(&self) -> ChannelRange {
        match self {
            Weights::Floats(panels) => panels.features,
            Weights::Halves(panels) => panels.features,
        }
    }

    /// Its blocks, and the bytes of each.
    pub(crate) fn blocks(&self, layer: LayerId) -> Vec<(BlockId, Bytes)> {
        match self {
            Weights::Floats(panels) => panels.named(layer, DType::F32),
            Weights::Halves(panels) => panels.named(layer, DType::F16),
        }
    }

    /// The algorithm that uses them.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Weights::Floats(panels) => panels.algorithm,
            Weights::Halves(panels) => panels.algorithm,
        }
    }

    /// Bytes in memory.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks(LayerId(0)).into_iter().map(|(_, bytes)| bytes.0).sum()
    }
}

impl<W: Element> Panels<W> {
    fn pack(
        reader: &mut Reader<'_>,
        conv: &Conv,
        shape: Shape,
        features: ChannelRange,
        (algorithm, lanes): (Algorithm, u32),
        earlier: &[&Panels<W>],
    ) -> Result<Panels<W>, KernelError> {
        let form = form_of(algorithm, lanes);
        let mut blocks = Vec::new();
        let mut next = features.start;
        while next < features.end {
            let start = next / LANES * LANES;
            let part = ChannelRange::new(next, (start + LANES).min(features.end));
            let same_form = earlier.iter().filter(|panels| panels.form == form);
            let mut known = same_form.filter_map(|panels| panels.blocks(part).first());
            blocks.push(match known.find(|block| block.features.covers(part)) {
                Some(block) => Arc::clone(block),
                None => Arc::new(reader.block(conv, shape, start, part, form)?),
            });
            next = part.end;
        }
        Ok(Panels { features, algorithm, form, blocks })
    }

    fn named(&self, layer: LayerId, dtype: DType) -> Vec<(BlockId, Bytes)> {
        let named = |block: &Arc<Block<W>>| {
            let bytes = size_of_val(&block.weights[..]) + size_of_val(&block.bias);
            let id = BlockId { layer, first: block.first, form: self.form, dtype };
            (id, Bytes(bytes as u64))
        };
        self.blocks.iter().map(named).collect()
    }

    /// The blocks that hold any of `features`, in order.
    pub(crate) fn blocks(&self, features: ChannelRange) -> &[Arc<Block<W>>] {
        let wanted = self.features.intersect(features);
        if wanted.is_empty() {
            return &[];
        }
        let (first, wanted) = (self.features.blocks().start, wanted.blocks());
        &self.blocks[(wanted.start - first) as usize..(wanted.end - first) as usize]
    }
}

/// Bytes of some features of a convolution, packed for an algorithm.
pub(crate) fn bytes(
    algorithm: Algorithm,
    conv: &Conv,
    shape: Shape,
    features: ChannelRange,
    dtype: DType,
) -> u64 {
    match algorithm {
        Algorithm::Dense | Algorithm::Depthwise | Algorithm::Direct => {
            conv.packed_bytes(features, shape, dtype)
        }
        Algorithm::Winograd(tile) => {
            let elements = u64::from(shape.channels) * tile.positions() as u64;
            // The bias stays float32.
            let feature = elements * dtype.size() + DType::F32.size();
            features.blocks().len() as u64 * u64::from(LANES) * feature
        }
    }
}

/// What an algorithm reads if the input's maps have so many lanes.
fn form_of(algorithm: Algorithm, lanes: u32) -> Form {
    match algorithm {
        Algorithm::Dense | Algorithm::Depthwise => Form::Cells,
        Algorithm::Direct => Form::Windows { lanes },
        Algorithm::Winograd(tile) => Form::Winograd(tile),
    }
}

/// Reads rows of parameters, one block at a time.
pub(crate) struct Reader<'a> {
    graph: &'a Graph,
    layer: &'a Layer,
    source: &'a dyn WeightSource,
    /// What was read last, as it came and as floats: the memory is used again.
    bytes: Vec<u8>,
    floats: Vec<f32>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        graph: &'a Graph,
        layer: &'a Layer,
        source: &'a dyn WeightSource,
    ) -> Reader<'a> {
        Reader { graph, layer, source, bytes: Vec::new(), floats: Vec::new() }
    }

    /// Elements of a feature's row of weights.
    pub(crate) fn row(&self, conv: &Conv) -> usize {
        self.graph.parameter(conv.weight).row as usize
    }

    /// The rows of `features`, with the scale applied, and their biases.
    pub(crate) fn rows(
        &mut self,
        conv: &Conv,
        features: ChannelRange,
    ) -> Result<(&[f32], Vec<f32>), KernelError> {
        let small = |reader: &mut Self, parameter: Option<ParameterId>| {
            let read = |parameter| {
                let mut values = Vec::new();
                reader.read(parameter, features, &mut values).map(|()| values)
            };
            parameter.map(read).transpose()
        };
        let scales = small(self, conv.scale)?;
        let bias = small(self, conv.bias)?;
        let mut floats = std::mem::take(&mut self.floats);
        let read = self.read(conv.weight, features, &mut floats);
        self.floats = floats;
        read?;
        if let Some(scales) = scales {
            let row = self.row(conv);
            for (row, scale) in self.floats.chunks_exact_mut(row).zip(scales) {
                row.iter_mut().for_each(|weight| *weight *= scale);
            }
        }
        Ok((&self.floats, bias.unwrap_or_else(|| vec![0.0; features.len() as usize])))
    }

    fn block<W: Element>(
        &mut self,
        conv: &Conv,
        shape: Shape,
        start: u32,
        features: ChannelRange,
        form: Form,
    ) -> Result<Block<W>, KernelError> {
        let (skip, row) = ((features.start - start) as usize, self.row(conv));
        let (weights, biases) = self.rows(conv, features)?;
        let mut bias = [0.0; BLOCK];
        bias[skip..skip + biases.len()].copy_from_slice(&biases);
        let weights = match form {
            Form::Cells => cells(weights, row, conv.window.cells() as usize, skip),
            Form::Windows { lanes } => taps::panel(conv, shape, lanes, start, skip, weights),
            Form::Winograd(tile) => pack(tile, shape.channels as usize, skip, weights),
        };
        Ok(Block { first: start, features, weights: W::of(weights), bias })
    }

    /// Replaces `values` with rows of a parameter.
    pub(crate) fn read(
        &mut self,
        parameter: ParameterId,
        features: ChannelRange,
        values: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        let description = self.graph.parameter(parameter);
        self.bytes.clear();
        self.source
            .read(parameter, features, &mut self.bytes)
            .map_err(|source| KernelError::Weights { layer: self.layer.name.clone(), source })?;
        let wanted = description.row_bytes() * u64::from(features.len());
        if self.bytes.len() as u64 != wanted {
            return Err(KernelError::Length {
                layer: self.layer.name.clone(),
                parameter: description.name.clone(),
                features,
                found: self.bytes.len(),
                wanted,
            });
        }
        values.clear();
        match description.dtype {
            DType::F32 => {
                let (words, _) = self.bytes.as_chunks();
                values.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
            }
            DType::F16 => {
                let (halves, _) = self.bytes.as_chunks();
                values.extend(halves.iter().map(|half| f16::from_le_bytes(*half).to_f32()));
            }
        }
        Ok(())
    }
}

/// Packs rows of features, each of channels x `cells`, side by side, in the order of a map in
/// blocks; the block lacks its first `skip` features.
///
/// A tile of elements x features at a time is transposed where it stays in the cache: each feature's
/// elements are read in a run, and what one element has of all features is written as a line.
fn cells(rows: &[f32], row: usize, cells: usize, skip: usize) -> Vec<f32> {
    const TILE: usize = 16;
    let mut packed = vec![0.0; row * BLOCK];
    let (lines, _) = packed.as_chunks_mut::<BLOCK>();
    for first in (0..row).step_by(BLOCK * cells) {
        // The channels of a block: elements are channel by channel here, cell by cell there.
        let block = &mut lines[first..row.min(first + BLOCK * cells)];
        let channels = block.len() / cells;
        for start in (0..block.len()).step_by(TILE) {
            let count = TILE.min(block.len() - start);
            let mut tile = [[0.0; BLOCK]; TILE];
            for (feature, elements) in rows.chunks_exact(row).enumerate() {
                let elements = &elements[first + start..][..count];
                for (line, element) in tile.iter_mut().zip(elements) {
                    line[skip + feature] = *element;
                }
            }
            for (element, line) in (start..).zip(&tile[..count]) {
                block[element % cells * channels + element / cells] = *line;
            }
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_lie_in_the_order_of_a_map() {
        // Two features of 17 channels x 2 cells; the first feature of the block is not there.
        let rows: Vec<f32> = (0..68).map(|index| index as f32).collect();
        let packed = cells(&rows, 34, 2, 1);
        assert_eq!(packed.len(), 34 * 16);
        let element =
            |index: usize| [packed[index * 16], packed[index * 16 + 1], packed[index * 16 + 2]];
        assert_eq!(element(0), [0.0, 0.0, 34.0]);
        assert_eq!(element(1), [0.0, 2.0, 36.0]);
        assert_eq!(element(16), [0.0, 1.0, 35.0]);
        assert_eq!(element(32), [0.0, 32.0, 66.0]);
        assert_eq!(element(33), [0.0, 33.0, 67.0]);
    }
}
