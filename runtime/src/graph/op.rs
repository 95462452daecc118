//! What layers compute: each operator's shape rule and region rule.
//!
//! A new operator is a variant here with its two rules, a kernel in [`crate::kernel`] and an
//! ONNX name in [`crate::operators`]; the compiler's exhaustiveness check finds every place.

use serde::{Deserialize, Serialize};

use super::{GeometryError, ParameterId, Shape, Window};
use crate::region::{ChannelRange, Region, RowRange};

/// A convolution, and also a dense layer: that is a convolution whose window is the whole map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Number of output channels.
    pub features: u32,
    /// Input and output channels fall into this many groups that do not mix.
    pub groups: u32,
    /// What an output looks at.
    pub window: Window,
    /// `features` rows of input channels of a group x kernel rows x kernel columns.
    pub weight: ParameterId,
    /// A factor per feature, applied to the sum before the bias: a folded BatchNormalization's.
    pub scale: Option<ParameterId>,
    /// A summand per feature.
    pub bias: Option<ParameterId>,
}

impl Conv {
    /// Whether it is a dense layer over `input`: its window covers all of the map.
    pub fn is_dense(&self, input: Shape) -> bool {
        self.groups == 1 && self.window == Window::whole(input.rows, input.width)
    }

    /// Whether every output channel reads one input channel.
    pub fn is_depthwise(&self, input: Shape) -> bool {
        self.groups > 1 && self.groups == input.channels
    }

    /// The input channels that `features` read: those of the groups they lie in.
    pub fn input_channels(&self, features: ChannelRange, input: Shape) -> ChannelRange {
        if features.is_empty() {
            return ChannelRange::empty();
        }
        let (outputs, inputs) = (self.features / self.groups, input.channels / self.groups);
        ChannelRange::new(
            features.start / outputs * inputs,
            features.end.div_ceil(outputs) * inputs,
        )
    }
}

/// What a pool makes of the cells it looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduction {
    /// The largest; padding does not count.
    Max,
    /// The mean.
    Average {
        /// Whether padding counts as zeros (cells beyond the padding never do).
        count_padding: bool,
    },
}

/// A pooling layer, channel by channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Largest or mean.
    pub reduction: Reduction,
    /// What an output looks at.
    pub window: Window,
}

/// What a layer computes from its inputs, before its activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Convolution or dense layer; one input.
    Conv(Conv),
    /// Pooling; one input.
    Pool(Pool),
    /// Sums over the width, row by row; one input. With [`Op::SumRows`] a global mean.
    SumWidth,
    /// Sums over all rows, in row order, times `scale`; one input.
    SumRows {
        /// Factor of the sum; a mean's is one over the number of elements.
        scale: f32,
    },
    /// Elementwise sum of inputs of one shape.
    Add,
    /// Channels of all inputs, one after the other.
    Concat,
    /// Nothing but the layer's activation; one input.
    Identity,
    /// Softmax over the elements of a vector; one input.
    Softmax,
}

/// What is applied to every element of a layer's result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// Nothing.
    Linear,
    /// max(x, 0)
    Relu,
    /// x limited to `min..=max`.
    Clip {
        /// Smallest result.
        min: f32,
        /// Largest result.
        max: f32,
    },
    /// x, or where that is negative x times `slope`.
    Leaky {
        /// Factor of negative values.
        slope: f32,
    },
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// x times its sigmoid.
    Silu,
    /// `alpha` x + `beta` limited to `0..=1`.
    HardSigmoid {
        /// Factor.
        alpha: f32,
        /// Summand.
        beta: f32,
    },
    /// x times (x / 6 + 1/2 limited to `0..=1`).
    HardSwish,
}

impl Op {
    /// The operator's name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "conv",
            Op::Pool(Pool { reduction: Reduction::Max, .. }) => "max-pool",
            Op::Pool(_) => "average-pool",
            Op::SumWidth => "sum-width",
            Op::SumRows { .. } => "sum-rows",
            Op::Add => "add",
            Op::Concat => "concat",
            Op::Identity => "identity",
            Op::Softmax => "softmax",
        }
    }

    /// The shape rule: what comes out of `inputs`.
    ///
    /// # Errors
    /// When the inputs are too few, too many, or do not fit the operator or each other.
    pub fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, GeometryError> {
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
            Op::Concat => match inputs {
                [first, rest @ ..] => rest.iter().try_fold(*first, |sum, shape| {
                    if (shape.rows, shape.width) != (sum.rows, sum.width) {
                        return Err(GeometryError::Differ { op: self.name(), a: sum, b: *shape });
                    }
                    let channels = sum.channels.checked_add(shape.channels);
                    Ok(Shape { channels: channels.ok_or(GeometryError::TooLarge)?, ..sum })
                }),
                [] => Err(GeometryError::InputCount { op: self.name(), found: 0 }),
            },
        }
    }

    /// The region rule: what part of input number `index` the outputs in `out` read.
    ///
    /// `inputs` are the shapes of all inputs, as [`Op::output_shape`] accepted them.
    pub fn reads(&self, index: usize, inputs: &[Shape], out: Region) -> Region {
        let input = inputs[index];
        if out.is_empty() {
            return Region::empty();
        }
        let (channels, rows) = match self {
            Op::Conv(conv) => (
                conv.input_channels(out.channels, input),
                conv.window.rows.reads(out.rows, input.rows),
            ),
            Op::Pool(pool) => (out.channels, pool.window.rows.reads(out.rows, input.rows)),
            Op::SumWidth | Op::Add | Op::Identity => (out.channels, out.rows),
            Op::SumRows { .. } => (out.channels, RowRange::all(input.rows)),
            Op::Concat => {
                let offset: u32 = inputs[..index].iter().map(|shape| shape.channels).sum();
                let mine = ChannelRange::new(offset, offset + input.channels);
                let part = out.channels.intersect(mine);
                if part.is_empty() {
                    return Region::empty();
                }
                (ChannelRange::new(part.start - offset, part.end - offset), out.rows)
            }
            Op::Softmax => (ChannelRange::all(input.channels), out.rows),
        };
        let region = Region::new(channels, rows);
        if region.is_empty() { Region::empty() } else { region }
    }

    /// Whether output channel c reads channel c of every input and no other, so that the layer
    /// can follow a split by features.
    pub fn is_channelwise(&self) -> bool {
        match self {
            Op::Pool(_) | Op::SumWidth | Op::SumRows { .. } | Op::Add | Op::Identity => true,
            Op::Conv(_) | Op::Concat | Op::Softmax => false,
        }
    }

    /// The parameters it reads: weight, scale, bias.
    pub fn parameters(&self) -> impl Iterator<Item = ParameterId> {
        let parameters = match self {
            Op::Conv(conv) => [Some(conv.weight), conv.scale, conv.bias],
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
