//! Packs weights into the form that kernels read.
//!
//! Weights are kept in blocks of [`LANES`] features, those of the output's layout. Each block is
//! read, packed and shared on its own: packing never holds more than one block twice, and a new
//! plan takes over the blocks of the previous one even if shares have grown or shrunk. Features
//! 16..32 are the same block for every device that computes them. A block's elements are floats or
//! halves, all of a layer the same.

use std::sync::Arc;

use half::f16;

use super::algorithm::Algorithm;
use super::taps;
use super::winograd::pack::pack;
use crate::graph::{Conv, DType, Graph, Layer, ParameterId, Shape, Tile};
use crate::kernel::error::KernelError;
use crate::kernel::memory::lanes::{BLOCK, LANES};
use crate::kernel::simd::element::Element;
use crate::region::ChannelRange;
use crate::weights::WeightSource;

/// How a block's weights lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Elements of a row x [`LANES`] features, with zeros for features that a block lacks. Elements
    /// are in the order of a map in blocks: blocks of channels x cells of the window x channels of
    /// the block.
    Cells,
    /// Elements of a window x [`LANES`] features. Elements are in the order of
    /// [`taps`](taps::taps).
    Windows {
        /// Lanes of the input's maps.
        lanes: u32,
    },
    /// Positions in a transformed tile x channels x [`LANES`] features.
    Winograd(Tile),
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
    /// Reads and packs `features` of a layer, taking over blocks of `previous`. The input has this
    /// shape.
    pub(crate) fn pack(
        reader: &mut Reader<'_>,
        conv: &Conv,
        shape: Shape,
        features: ChannelRange,
        packing: Packing,
        previous: Option<&Weights>,
    ) -> Result<Weights, KernelError> {
        let Packing { algorithm, lanes, dtype } = packing;
        let how = (algorithm, lanes);
        Ok(match dtype {
            DType::F32 => {
                let held = match previous {
                    Some(Weights::Floats(panels)) => Some(panels),
                    _ => None,
                };
                Weights::Floats(Panels::pack(reader, conv, shape, features, how, held)?)
            }
            DType::F16 => {
                let held = match previous {
                    Some(Weights::Halves(panels)) => Some(panels),
                    _ => None,
                };
                Weights::Halves(Panels::pack(reader, conv, shape, features, how, held)?)
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
        match self {
            Weights::Floats(panels) => panels.bytes(),
            Weights::Halves(panels) => panels.bytes(),
        }
    }
}

impl<W: Element> Panels<W> {
    fn pack(
        reader: &mut Reader<'_>,
        conv: &Conv,
        shape: Shape,
        features: ChannelRange,
        (algorithm, lanes): (Algorithm, u32),
        previous: Option<&Panels<W>>,
    ) -> Result<Panels<W>, KernelError> {
        let form = match algorithm {
            Algorithm::Dense | Algorithm::Depthwise => Form::Cells,
            Algorithm::Direct => Form::Windows { lanes },
            Algorithm::Winograd(tile) => Form::Winograd(tile),
        };
        let previous = previous.filter(|previous| previous.form == form);
        let mut blocks = Vec::new();
        let mut next = features.start;
        while next < features.end {
            let start = next / LANES * LANES;
            let part = ChannelRange::new(next, (start + LANES).min(features.end));
            let known = previous.and_then(|previous| previous.blocks(part).first());
            blocks.push(match known {
                Some(block) if block.features.covers(part) => Arc::clone(block),
                _ => Arc::new(reader.block(conv, shape, start, part, form)?),
            });
            next = part.end;
        }
        Ok(Panels { features, algorithm, form, blocks })
    }

    #[cfg(test)]
    fn bytes(&self) -> u64 {
        let bytes =
            |block: &Arc<Block<W>>| size_of_val(&block.weights[..]) + size_of_val(&block.bias);
        self.blocks.iter().map(bytes).sum::<usize>() as u64
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

/// Reads rows of parameters, one block at a time.
pub(crate) struct Reader<'a> {
    graph: &'a Graph,
    layer: &'a Layer,
    source: &'a dyn WeightSource,
    bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        graph: &'a Graph,
        layer: &'a Layer,
        source: &'a dyn WeightSource,
    ) -> Reader<'a> {
        Reader { graph, layer, source, bytes: Vec::new() }
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
    ) -> Result<(Vec<f32>, Vec<f32>), KernelError> {
        let mut weights = self.read(conv.weight, features)?;
        if let Some(parameter) = conv.scale {
            let row = self.row(conv);
            let scales = self.read(parameter, features)?;
            for (row, scale) in weights.chunks_exact_mut(row).zip(scales) {
                row.iter_mut().for_each(|weight| *weight *= scale);
            }
        }
        let bias = match conv.bias {
            Some(parameter) => self.read(parameter, features)?,
            None => vec![0.0; features.len() as usize],
        };
        Ok((weights, bias))
    }

    fn block<W: Element>(
        &mut self,
        conv: &Conv,
        shape: Shape,
        start: u32,
        features: ChannelRange,
        form: Form,
    ) -> Result<Block<W>, KernelError> {
        let skip = (features.start - start) as usize;
        let (weights, biases) = self.rows(conv, features)?;
        let mut bias = [0.0; BLOCK];
        bias[skip..skip + biases.len()].copy_from_slice(&biases);
        let weights = match form {
            Form::Cells => cells(&weights, self.row(conv), conv.window.cells() as usize, skip),
            Form::Windows { lanes } => taps::panel(conv, shape, lanes, start, skip, &weights),
            Form::Winograd(tile) => pack(tile, shape.channels as usize, skip, &weights),
        };
        Ok(Block { first: start, features, weights: W::of(weights), bias })
    }

    /// Rows of a parameter as float32.
    fn read(
        &mut self,
        parameter: ParameterId,
        features: ChannelRange,
    ) -> Result<Vec<f32>, KernelError> {
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
        Ok(match description.dtype {
            DType::F32 => {
                let (words, _) = self.bytes.as_chunks();
                words.iter().map(|word| f32::from_le_bytes(*word)).collect()
            }
            DType::F16 => {
                let (halves, _) = self.bytes.as_chunks();
                halves.iter().map(|half| f16::from_le_bytes(*half).to_f32()).collect()
            }
        })
    }
}

/// Packs rows of features, each of channels x `cells`, side by side, in the order of a map in
/// blocks; the block lacks its first `skip` features.
fn cells(rows: &[f32], row: usize, cells: usize, skip: usize) -> Vec<f32> {
    let channels = row / cells;
    let mut packed = vec![0.0; row * BLOCK];
    let mut elements = packed.chunks_exact_mut(BLOCK);
    for block in (0..channels).step_by(BLOCK) {
        for cell in 0..cells {
            let channels = block..channels.min(block + BLOCK);
            for (channel, element) in channels.zip(&mut elements) {
                let from = rows[channel * cells + cell..].iter().step_by(row);
                element[skip..].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
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
