//! What layers compute, and each operator's shape rule.
//!
//! Region rules are in `reach.rs`. [`crate::onnx::operators`] lists what else a new operator needs.

use serde::{Deserialize, Serialize};

use super::DType;
use super::error::GeometryError;
use super::general::General;
use super::ids::ParameterId;
use super::lrn::Lrn;
use super::rearrange::{Reorder, Slice};
use super::shape::Shape;
use super::window::Window;
use crate::region::{CHANNEL_BLOCK, ChannelRange};

/// A convolution. A dense layer is one, too: its window is the whole map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Number of output channels.
    pub features: u32,
    /// Number of groups into which input and output channels fall; groups do not mix.
    pub groups: u32,
    /// The window that an output reads.
    pub window: Window,
    /// `features` rows of (input channels of a group x kernel rows x kernel columns) elements.
    pub weight: ParameterId,
    /// A factor per feature, applied to the sum before the bias: from a folded BatchNormalization.
    pub scale: Option<ParameterId>,
    /// A summand per feature.
    pub bias: Option<ParameterId>,
}

impl Conv {
    /// Whether it is a dense layer over `input`: whether its window covers the whole map.
    pub fn is_dense(&self, input: Shape) -> bool {
        self.groups == 1 && self.window == Window::whole(input.rows, input.width)
    }

    /// Whether every output channel reads one input channel.
    pub(crate) fn is_depthwise(&self, input: Shape) -> bool {
        self.groups > 1 && self.groups == input.channels
    }

    /// The input channels that `features` read: those of the groups they lie in.
    pub(crate) fn input_channels(&self, features: ChannelRange, input: Shape) -> ChannelRange {
        if features.is_empty() {
            return ChannelRange::empty();
        }
        let (outputs, inputs) = (self.features / self.groups, input.channels / self.groups);
        ChannelRange::new(
            features.start / outputs * inputs,
            features.end.div_ceil(outputs) * inputs,
        )
    }

    /// The input channels that the block of features starting at `first` reads; they do not depend
    /// on which part of the block is computed.
    pub(crate) fn block_channels(&self, first: u32, input: Shape) -> ChannelRange {
        let block = ChannelRange::new(first, (first + CHANNEL_BLOCK).min(self.features));
        self.input_channels(block, input)
    }

    /// Bytes of the weights and biases of `features` in the smallest form that kernels can read:
    /// whole blocks of features, with a weight for every channel that a block reads. Weights are
    /// kept as `dtype`, biases as float32.
    pub(crate) fn packed_bytes(&self, features: ChannelRange, input: Shape, dtype: DType) -> u64 {
        let bytes = |block: u32| {
            let channels = match self.is_depthwise(input) {
                true => 1,
                false => self.block_channels(block * CHANNEL_BLOCK, input).len(),
            };
            let elements = u64::from(channels) * self.window.cells();
            u64::from(CHANNEL_BLOCK) * (elements * dtype.size() + DType::F32.size())
        };
        let blocks = features.blocks();
        match self.groups {
            // All blocks read the same channels.
            1 => blocks.len() as u64 * bytes(blocks.start),
            _ => blocks.map(bytes).sum(),
        }
    }
}

/// How a pool reduces the cells of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduction {
    /// The largest; padding does not count.
    Max,
    /// The mean.
    Average {
        /// Whether padding counts as zeros (cells beyond the padding never count).
        count_padding: bool,
    },
}

/// A pooling layer, channel by channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Largest or mean.
    pub reduction: Reduction,
    /// The window that an output reads.
    pub window: Window,
}

/// A parameter as a map: as many features as channels, a row for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// Which parameter.
    pub value: ParameterId,
    /// The map.
    pub shape: Shape,
}

/// What a layer computes from its inputs, before its activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Convolution or dense layer; one input.
    Conv(Conv),
    /// Pooling; one input.
    Pool(Pool),
    /// Sums over the width, row by row; one input. The first half of a global mean.
    SumWidth,
    /// Sums over all rows, in row order, times `scale`; one input. The second half of a global
    /// mean.
    SumRows {
        /// Factor of the sum; for a mean, one over the number of elements.
        scale: f32,
    },
    /// Elementwise sum of inputs of one shape.
    Add,
    /// Elementwise product of inputs of one shape, and vectors with a factor per channel.
    Mul,
    /// Channels of all inputs, one after the other.
    Concat,
    /// Rows of all inputs, one below the other.
    Stack,
    /// Nothing but the layer's activation; one input.
    Identity,
    /// Softmax over the elements of a vector; one input.
    Softmax,
    /// Local response normalisation; one input.
    Lrn(Lrn),
    /// Every element repeated, `rows` times downwards and `cols` times across; one input.
    Upsample {
        /// How often each row is repeated.
        rows: u32,
        /// How often each column is repeated.
        cols: u32,
    },
    /// Part of a map; one input.
    Slice(Slice),
    /// Interleaves the channels of `groups` groups: the first channel of each group, then the
    /// second of each, and so on; one input.
    Shuffle {
        /// How many groups.
        groups: u32,
    },
    /// Every `block`^2 consecutive channels become one channel, each of whose cells becomes
    /// `block` x `block` cells, row by row; one input.
    DepthToSpace {
        /// Factor by which rows and columns multiply.
        block: u32,
    },
    /// All elements in another order; one input.
    Reorder(Reorder),
    /// What a parameter holds; no input.
    Constant(Constant),
    /// A function of whole tensors of any rank.
    General(General),
}

/// How a layer may be divided between devices, from what is divided best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// By rows of its output.
    Rows,
    /// By features of its output.
    Features,
    /// Not at all.
    Whole,
}

impl Op {
    /// How a layer may be divided whose first input has this shape.
    pub fn split(&self, input: Option<Shape>) -> Split {
        match self {
            Op::Conv(conv) if input.is_some_and(|input| conv.is_dense(input)) => Split::Features,
            Op::SumRows { .. }
            | Op::Softmax
            | Op::Reorder(_)
            | Op::Stack
            | Op::Constant(_)
            | Op::General(_) => Split::Whole,
            Op::Conv(_)
            | Op::Pool(_)
            | Op::SumWidth
            | Op::Add
            | Op::Mul
            | Op::Concat
            | Op::Identity
            | Op::Lrn(_)
            | Op::Upsample { .. }
            | Op::Slice(_)
            | Op::Shuffle { .. }
            | Op::DepthToSpace { .. } => Split::Rows,
        }
    }

    /// The operator's name, for display.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "conv",
            Op::Pool(Pool { reduction: Reduction::Max, .. }) => "max-pool",
            Op::Pool(_) => "average-pool",
            Op::SumWidth => "sum-width",
            Op::SumRows { .. } => "sum-rows",
            Op::Add => "add",
            Op::Mul => "mul",
            Op::Stack => "stack",
            Op::Lrn(_) => "lrn",
            Op::Upsample { .. } => "upsample",
            Op::Slice(_) => "slice",
            Op::Shuffle { .. } => "shuffle",
            Op::DepthToSpace { .. } => "depth-to-space",
            Op::Reorder(_) => "reorder",
            Op::Constant(_) => "constant",
            Op::General(general) => general.function.name(),
            Op::Concat => "concat",
            Op::Identity => "identity",
            Op::Softmax => "softmax",
        }
    }

    /// The shape rule: the shape of the output for these input shapes.
    ///
    /// # Errors
    /// When the inputs are too few, too many, or do not fit the operator or each other.
    pub(crate) fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, GeometryError> {
        let one = || match inputs {
            [input] => Ok(*input),
            _ => Err(GeometryError::InputCount { op: self.name(), found: inputs.len() }),
        };
        match self {
            Op::Conv(conv) => {
                let input = one()?;
                let (groups, features) = (conv.groups, conv.features);
                if groups == 0
                    || features == 0
                    || !input.channels.is_multiple_of(groups)
                    || !features.is_multiple_of(groups)
                {
                    return Err(GeometryError::Groups {
                        groups,
                        channels: input.channels,
                        features,
                    });
                }
                windowed(conv.window, input, features)
            }
            Op::Pool(pool) => {
                let input = one()?;
                windowed(pool.window, input, input.channels)
            }
            Op::SumWidth => one().map(|input| Shape { width: 1, ..input }),
            Op::SumRows { .. } => one().map(|input| Shape { rows: 1, ..input }),
            Op::Identity => one(),
            Op::Softmax => match one()? {
                input if input.is_vector() => Ok(input),
                input => Err(GeometryError::NotAVector { op: self.name(), input }),
            },
            Op::Add => match inputs {
                [first, rest @ ..] => match rest.iter().find(|shape| *shape != first) {
                    None => Ok(*first),
                    Some(other) => {
                        Err(GeometryError::Differ { op: self.name(), a: *first, b: *other })
                    }
                },
                [] => Err(GeometryError::InputCount { op: self.name(), found: 0 }),
            },
            Op::Mul => {
                let whole = inputs.iter().max_by_key(|shape| shape.elements());
                let whole = whole.ok_or(GeometryError::InputCount { op: self.name(), found: 0 })?;
                let fits = |shape: &Shape| *shape == Shape::vector(whole.channels);
                match inputs.iter().find(|shape| *shape != whole && !fits(shape)) {
                    None => Ok(*whole),
                    Some(other) => {
                        Err(GeometryError::Differ { op: self.name(), a: *whole, b: *other })
                    }
                }
            }
            Op::Concat => self.joined(inputs, |sum, shape| {
                let channels = sum.channels.checked_add(shape.channels)?;
                (Shape { channels, ..shape } == Shape { channels, ..sum })
                    .then_some(Shape { channels, ..sum })
            }),
            Op::Stack => self.joined(inputs, |sum, shape| {
                let rows = sum.rows.checked_add(shape.rows)?;
                (Shape { rows, ..shape } == Shape { rows, ..sum }).then_some(Shape { rows, ..sum })
            }),
            Op::Lrn(lrn) => match one()? {
                input if lrn.size > 0 => Ok(input),
                input => Err(GeometryError::Misfit { op: self.name(), input }),
            },
            Op::Upsample { rows, cols } => {
                one().and_then(|input| self.grown(input, 1, *rows, *cols))
            }
            Op::DepthToSpace { block } => one().and_then(|input| {
                let cells = block.checked_mul(*block).ok_or(GeometryError::TooLarge)?;
                self.grown(input, cells, *block, *block)
            }),
            Op::Slice(slice) => one().and_then(|input| {
                slice.shape(input).ok_or(GeometryError::Misfit { op: self.name(), input })
            }),
            Op::Shuffle { groups } => match one()? {
                input if *groups > 0 && input.channels.is_multiple_of(*groups) => Ok(input),
                input => Err(GeometryError::Misfit { op: self.name(), input }),
            },
            Op::Reorder(order) => match one()? {
                input if order.fits(input) => Ok(order.shape),
                input => Err(GeometryError::Misfit { op: self.name(), input }),
            },
            Op::Constant(constant) => match inputs {
                [] => Ok(constant.shape),
                _ => Err(GeometryError::InputCount { op: self.name(), found: inputs.len() }),
            },
            Op::General(general) => general
                .shape(inputs)
                .ok_or_else(|| GeometryError::Dims { op: self.name(), dims: general.dims.clone() }),
        }
    }

    /// The shape of all inputs joined by `join`, which refuses shapes that differ elsewhere.
    fn joined(
        &self,
        inputs: &[Shape],
        join: impl Fn(Shape, Shape) -> Option<Shape>,
    ) -> Result<Shape, GeometryError> {
        let [first, rest @ ..] = inputs else {
            return Err(GeometryError::InputCount { op: self.name(), found: 0 });
        };
        rest.iter().try_fold(*first, |sum, shape| {
            let differ = GeometryError::Differ { op: self.name(), a: sum, b: *shape };
            join(sum, *shape).ok_or(differ)
        })
    }

    /// The shape with `cells` times fewer channels and `rows` and `cols` times more rows and
    /// columns.
    fn grown(
        &self,
        input: Shape,
        cells: u32,
        rows: u32,
        cols: u32,
    ) -> Result<Shape, GeometryError> {
        if cells == 0 || rows == 0 || cols == 0 || !input.channels.is_multiple_of(cells) {
            return Err(GeometryError::Misfit { op: self.name(), input });
        }
        let times = |a: u32, b: u32| a.checked_mul(b).ok_or(GeometryError::TooLarge);
        let (rows, width) = (times(input.rows, rows)?, times(input.width, cols)?);
        Ok(Shape { channels: input.channels / cells, rows, width })
    }

    /// Whether output channel c reads only channel c of every input, so that the layer can follow
    /// a split by features.
    pub fn is_channelwise(&self) -> bool {
        match self {
            Op::Pool(_)
            | Op::SumWidth
            | Op::SumRows { .. }
            | Op::Add
            | Op::Mul
            | Op::Stack
            | Op::Identity
            | Op::Upsample { .. } => true,
            Op::Conv(_)
            | Op::Concat
            | Op::Softmax
            | Op::Lrn(_)
            | Op::Slice(_)
            | Op::Shuffle { .. }
            | Op::DepthToSpace { .. }
            | Op::Reorder(_)
            | Op::Constant(_)
            | Op::General(_) => false,
        }
    }

    /// The parameters it reads: weight, scale, bias.
    pub fn parameters(&self) -> impl Iterator<Item = ParameterId> {
        let parameters = match self {
            Op::Conv(conv) => [Some(conv.weight), conv.scale, conv.bias],
            Op::Constant(constant) => [Some(constant.value), None, None],
            _ => [None; 3],
        };
        parameters.into_iter().flatten()
    }
}

fn windowed(window: Window, input: Shape, channels: u32) -> Result<Shape, GeometryError> {
    let rows = window.rows.outputs(input.rows);
    let width = window.cols.outputs(input.width);
    match (rows, width) {
        (Some(rows), Some(width)) => Ok(Shape { channels, rows, width }),
        _ => Err(GeometryError::Window { window, input }),
    }
}
