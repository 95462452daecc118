//! The functions, with everything about them that is known while loading.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Dims;
use super::window::{Aggregate, Windows};

/// A function of whole tensors. Axes are counted from the first dimension of the first input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Function {
    /// Element by element, of two tensors.
    Binary(Binary),
    /// Element by element: the second input where the first is not 0, else the third.
    Where,
    /// Over some axes, of which dimensions of 1 remain.
    Reduce {
        /// What becomes of the elements.
        by: Reduce,
        /// Which axes, ascending.
        axes: Vec<u32>,
    },
    /// The index of the largest or least element along an axis, of which a dimension of 1 remains.
    ArgExtreme {
        /// Along which axis.
        axis: u32,
        /// Whether the least counts, instead of the largest.
        least: bool,
        /// Whether the last of several counts, instead of the first.
        last: bool,
    },
    /// Products of matrices, the last two axes; the others are broadcast.
    MatMul,
    /// A sum of products over named axes.
    Einsum(Einsum),
    /// Repeated along dimensions of 1.
    Expand {
        /// The dimensions to reach.
        dims: Dims,
    },
    /// One after another along an axis.
    Concat {
        /// Along which axis.
        axis: u32,
    },
    /// Evenly spaced indices along every axis.
    Slice {
        /// One for every axis.
        strides: Vec<Stride>,
    },
    /// More elements, or fewer, at both ends of every axis.
    Pad {
        /// What they are.
        mode: PadMode,
        /// How many before, for every axis; negative if elements are left out.
        before: Vec<i32>,
        /// How many after.
        after: Vec<i32>,
    },
    /// Slices of the first input along an axis, by the indices in the second.
    Gather {
        /// Along which axis.
        axis: u32,
    },
    /// Elements of the first input, by their index along an axis in the second.
    GatherElements {
        /// Along which axis.
        axis: u32,
    },
    /// Slices of the first input, by their indices along its first axes, the last axis of the
    /// second.
    GatherNd {
        /// How many axes both inputs have in common.
        batch: u32,
    },
    /// The first input with elements of the third put where the second says, along an axis.
    ScatterElements {
        /// Along which axis.
        axis: u32,
        /// What becomes of what was there.
        by: Combine,
    },
    /// The first input with slices of the third put where the second says.
    ScatterNd {
        /// What becomes of what was there.
        by: Combine,
    },
    /// 1 at the index that the input says, along a new axis, else 0.
    OneHot {
        /// Before which axis of the input.
        axis: u32,
        /// How many there are.
        depth: u32,
    },
    /// Sums of all elements up to each, along an axis.
    CumSum {
        /// Along which axis.
        axis: u32,
        /// Whether the element itself is left out.
        exclusive: bool,
        /// Whether they start at the end.
        reverse: bool,
    },
    /// The largest or least elements along an axis, in order; of equal ones the first.
    TopK {
        /// Along which axis.
        axis: u32,
        /// How many.
        count: u32,
        /// Whether the largest, instead of the least.
        largest: bool,
        /// Whether the result is their indices, instead of them.
        indices: bool,
    },
    /// Matrices, the last two axes, with zeros on one side of a diagonal.
    Triangle {
        /// Whether what lies above the diagonal stays, instead of below.
        upper: bool,
        /// How far above the main diagonal it lies.
        offset: i64,
    },
    /// Exponentials over their sum along an axis.
    Softmax {
        /// Along which axis.
        axis: u32,
        /// Whether the result is its logarithm.
        log: bool,
    },
    /// 1 for the first of the largest elements along an axis, else 0.
    Hardmax {
        /// Along which axis.
        axis: u32,
    },
    /// Minus the mean, over the standard deviation, of all elements that differ in some axes alone.
    Normalise {
        /// Which axes, ascending.
        axes: Vec<u32>,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Every element over a power of the mean square of the channels around it; channels are axis 1.
    Lrn(super::super::lrn::Lrn),
    /// A convolution over all axes behind the first two: batch x channels x ..., by weights of
    /// features x channels of a group x window.
    Conv(Windows),
    /// The transpose of a convolution; weights are channels x features of a group x window.
    ConvTranspose {
        /// The windows of the convolution.
        windows: Windows,
        /// Elements that no window reaches, behind the last, for every axis.
        extra: Vec<u32>,
    },
    /// Pooling over all axes behind the first two.
    Pool {
        /// What becomes of the elements of a window.
        by: Aggregate,
        /// The windows.
        windows: Windows,
    },
    /// A recurrent network over a sequence.
    Recurrent(Recurrent),
    /// Interpolation along one axis.
    Resize(Resize),
    /// Interpolation of a picture (batch x channels x rows x width) at given places.
    GridSample {
        /// How values between elements are found.
        by: Sample,
        /// What lies outside: zeros, the border, or a reflection.
        outside: PadMode,
        /// Whether -1 and 1 are the centres of the outer elements, instead of their edges.
        align_corners: bool,
    },
    /// Pools of boxes on a picture, with interpolation.
    RoiAlign(RoiAlign),
}

/// Functions of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binary {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a b
    Mul,
    /// a / b
    Div,
    /// a / b without what is behind the point.
    Quotient,
    /// The rest of a / b, with the sign of b.
    Mod,
    /// The rest of a / b, with the sign of a.
    Rem,
    /// a to the power of b.
    Pow,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
    /// Whether a = b.
    Equal,
    /// Whether a < b.
    Less,
    /// Whether a <= b.
    LessOrEqual,
    /// Whether neither is 0.
    And,
    /// Whether one is not 0.
    Or,
    /// Whether just one is not 0.
    Xor,
    /// a, or a b where a is negative.
    PRelu,
}

/// What becomes of several numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The least.
    Min,
    /// Their product.
    Prod,
    /// The sum of their absolute values.
    L1,
    /// The root of the sum of their squares.
    L2,
    /// The sum of their squares.
    SumSquare,
    /// The logarithm of their sum.
    LogSum,
    /// The logarithm of the sum of their exponentials.
    LogSumExp,
}

/// What becomes of an element that another one is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Combine {
    /// It is replaced.
    Replace,
    /// The sum.
    Add,
    /// The product.
    Mul,
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
}

/// A sum of products: `ij,jk->ik` with letters as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Einsum {
    /// The letters of every input's axes.
    pub inputs: Vec<Vec<u8>>,
    /// The letters of the result's.
    pub output: Vec<u8>,
}

impl Einsum {
    /// How many products every element of the result is the sum of, for inputs of these dimensions.
    pub(super) fn products_per_output(&self, inputs: &[Dims]) -> f64 {
        let mut summed: BTreeMap<u8, u32> = BTreeMap::new();
        for (letters, dims) in self.inputs.iter().zip(inputs) {
            let named = letters.iter().copied().zip(dims.iter().copied());
            summed.extend(named.filter(|(letter, _)| !self.output.contains(letter)));
        }
        summed.values().map(|len| f64::from(*len)).product()
    }
}

/// Evenly spaced indices along one axis, forwards or backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stride {
    /// The first index.
    pub start: u32,
    /// The distance from one to the next; not 0.
    pub step: i32,
    /// How many; at least one.
    pub count: u32,
}

impl Stride {
    /// All of an axis of `len` indices.
    pub const fn all(len: u32) -> Stride {
        Stride { start: 0, step: 1, count: len }
    }

    /// Whether it is within an axis of `len` indices.
    pub(super) fn fits(&self, len: u32) -> bool {
        let Some(rest) = self.count.checked_sub(1) else { return false };
        let last = i64::from(self.start) + i64::from(rest) * i64::from(self.step);
        let within = |index: i64| (0..i64::from(len)).contains(&index);
        self.step != 0 && within(self.start.into()) && within(last)
    }
}

/// What lies outside of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum PadMode {
    /// A number.
    Constant(f32),
    /// The outermost element.
    Edge,
    /// What lies as far inside, the outermost element not repeated.
    Reflect,
    /// What lies at the other end.
    Wrap,
}

/// A recurrent network. Its inputs: the sequence, steps x batch x features; by direction, weights
/// of the input, gates x features; of the state, gates x hidden; summands of both, side by side;
/// the first state, hidden, and for an LSTM the first cell and the weights of peepholes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recurrent {
    /// What a step computes.
    pub cell: Cell,
    /// In which direction, or both.
    pub direction: Direction,
    /// Which result: all states, the last state, or the last cell.
    pub output: u8,
}

/// What a step of a recurrent network computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// A long short-term memory: gates input, output, forget, cell.
    Lstm,
    /// A gated recurrent unit: gates update, reset, hidden.
    Gru {
        /// Whether the reset gate applies behind the product with the state's weights.
        linear_before_reset: bool,
    },
    /// The hyperbolic tangent of the sum.
    Rnn,
}

/// In which direction a recurrent network takes its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// From the first step on.
    Forward,
    /// From the last step back.
    Reverse,
    /// Both, side by side.
    Both,
}

impl Direction {
    /// How many there are.
    pub(crate) const fn count(self) -> u32 {
        match self {
            Direction::Both => 2,
            _ => 1,
        }
    }
}

/// Interpolation along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// Along which axis.
    pub axis: u32,
    /// How many elements the result has along it.
    pub to: u32,
    /// How much longer it is, as the file says, which need not be a whole number of elements.
    pub scale: f64,
    /// How values between elements are found.
    pub by: Interpolation,
    /// Where an element of the result lies in the input.
    pub coordinates: Coordinates,
    /// Whether a smaller result averages over more elements of the input.
    pub antialias: bool,
}

/// How values between elements are found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Interpolation {
    /// The nearest one.
    Nearest(Nearest),
    /// On a line between neighbours.
    Linear,
    /// On a cubic through four neighbours.
    Cubic {
        /// Its parameter.
        a: f32,
        /// Whether elements outside have no weight.
        exclude_outside: bool,
    },
}

/// Which of two neighbours is the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nearest {
    /// The nearer one; of two, the first.
    PreferFloor,
    /// The nearer one; of two, the second.
    PreferCeil,
    /// The first.
    Floor,
    /// The second.
    Ceil,
}

/// Where element x of a result lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Coordinates {
    /// (x + 0.5) / scale - 0.5
    HalfPixel,
    /// The same with the whole picture in the middle.
    HalfPixelSymmetric,
    /// The same, or 0 for a single element.
    PytorchHalfPixel,
    /// x (in - 1) / (out - 1)
    AlignCorners,
    /// x / scale
    Asymmetric,
    /// Within a part of the input, as fractions of it.
    Crop {
        /// Where the part starts.
        start: f32,
        /// Where it ends.
        end: f32,
        /// What lies outside of the input.
        outside: f32,
    },
}

/// How a picture is interpolated between its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sample {
    /// The nearest one.
    Nearest,
    /// Between four neighbours.
    Linear,
    /// Through sixteen.
    Cubic,
}

/// Pools of boxes: x is batch x channels x rows x width, then boxes x 4, and the batch of each box.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoiAlign {
    /// Rows and columns of a result.
    pub size: (u32, u32),
    /// How much smaller the picture is than what boxes are counted in.
    pub scale: f32,
    /// Samples per row and column of a result; as many as there are elements if 0.
    pub samples: u32,
    /// Whether the largest sample counts, instead of the mean.
    pub largest: bool,
    /// Whether boxes are counted from the elements' centres.
    pub half_pixel: bool,
}
