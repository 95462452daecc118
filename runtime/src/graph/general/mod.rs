//! Layers on tensors of any rank: what files hold besides feature maps.
//!
//! Maps are split by rows; a detector's head, an attention or a list of boxes is not. Such a layer
//! is computed whole on one device ([`general`](crate::general)), and the planner splits what comes
//! before and after. Between layers its tensors are maps like any other, which hold the elements in the
//! file's order; integers and truths are float32 there, exact up to 2^24.
//!
//! ```
//! use edgeld_runtime::graph::{Activation, Builder, Function, General, Op, Shape};
//! # fn main() -> Result<(), edgeld_runtime::graph::GraphError> {
//! // Boxes x classes: for each box, which class is the likeliest?
//! let likeliest = Function::ArgExtreme { axis: 2, least: false, last: false };
//! let op = Op::General(General { function: likeliest, dims: vec![vec![1, 8400, 80]] });
//! let mut builder = Builder::new("classes");
//! let scores = builder.input("scores", Shape::new(8400, 80, 1), vec![1, 8400, 80])?;
//! let classes = builder.layer("classes", op, &[scores], Activation::Linear)?;
//! assert_eq!(builder.shape(classes), Shape::new(8400, 1, 1));
//! # Ok(())
//! # }
//! ```

mod function;
mod rule;
mod window;

use serde::{Deserialize, Serialize};

pub use function::{
    Binary, Cell, Combine, Coordinates, Direction, Einsum, Function, Interpolation, Nearest,
    PadMode, Recurrent, Reduce, Resize, RoiAlign, Sample, Stride,
};
pub use window::{Aggregate, Windows};

use super::shape::Shape;

/// Dimensions of a tensor, as the file counts them.
pub type Dims = Vec<u32>;

/// The most dimensions of a tensor that is computed.
pub const MAX_AXES: usize = 8;

/// The most operations of one evaluation: an hour of a slow device.
const MOST_FLOPS: f64 = 4e12;

/// A function of whole tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct General {
    /// What it computes.
    pub function: Function,
    /// The dimensions of each input.
    pub dims: Vec<Dims>,
}

impl General {
    /// The dimensions of the result; `None` if the inputs do not fit the function or each other,
    /// or the result is empty or too large.
    pub fn output(&self) -> Option<Dims> {
        let inputs: Vec<&[u32]> = self.dims.iter().map(Vec::as_slice).collect();
        if inputs.iter().any(|dims| elements(dims).is_none()) {
            return None;
        }
        let output = self.function.output(&inputs)?;
        let count = elements(&output)?;
        let fits = self.scratch().is_some() && count as f64 * self.flops_per_output() <= MOST_FLOPS;
        fits.then_some(output)
    }

    /// Elements that its evaluation holds beside inputs and result; `None` if they are too many.
    pub(crate) fn scratch(&self) -> Option<u64> {
        let inputs: Vec<&[u32]> = self.dims.iter().map(Vec::as_slice).collect();
        match (&self.function, &inputs[..]) {
            (Function::Conv(windows), [[batch, channels, lens @ ..], _]) => {
                let padded = windows.padded(lens)?;
                elements(&[&[*batch, *channels], &padded[..]].concat())
            }
            (
                Function::ConvTranspose { windows, .. },
                [[batch, _, lens @ ..], [_, features, ..]],
            ) => {
                let features = features.checked_mul(windows.groups)?;
                let whole = windows.uncut(lens)?;
                elements(&[&[*batch, features], &whole[..]].concat())
            }
            (Function::MatMul, [[.., rows, inner], [.., cols]]) => {
                let output = self.function.output(&inputs)?;
                let batch = &output[..output.len() - 2];
                let a = elements(&[batch, &[*rows, *inner]].concat())?;
                let b = elements(&[batch, &[*inner, *cols]].concat())?;
                Some(a + b)
            }
            _ => inputs.first().map_or(Some(0), |dims| elements(dims)),
        }
    }

    /// Operations of an evaluation, roughly.
    pub(crate) fn flops(&self) -> f64 {
        let outputs = self.output().and_then(|dims| elements(&dims)).unwrap_or(0);
        outputs as f64 * self.flops_per_output()
    }

    /// The result as a map, if the inputs are maps of these shapes.
    pub(crate) fn shape(&self, inputs: &[Shape]) -> Option<Shape> {
        let counts = self.dims.iter().map(|dims| elements(dims));
        if !counts.eq(inputs.iter().map(|shape| shape.checked_elements())) {
            return None;
        }
        Shape::of_dims(&self.output()?)
    }

    /// Operations per element of the result, roughly.
    pub(crate) fn flops_per_output(&self) -> f64 {
        let of = |index: usize| self.dims.get(index).map_or(&[][..], Vec::as_slice);
        let count = |dims: &[u32]| dims.iter().map(|dim| f64::from(*dim)).product::<f64>();
        match &self.function {
            Function::MatMul => 2.0 * of(0).last().map_or(1.0, |dim| f64::from(*dim)),
            Function::Einsum(sum) => 2.0 * sum.products_per_output(&self.dims),
            Function::Conv(_) => 2.0 * count(of(1).get(1..).unwrap_or_default()),
            Function::ConvTranspose { windows, .. } => {
                // Of the kernel, every cell whose distance is a multiple of the stride.
                let cells = count(of(1).get(2..).unwrap_or_default()) / count(&windows.stride);
                let channels = of(1).first().map_or(1.0, |channels| f64::from(*channels));
                2.0 * cells.max(1.0) * channels / f64::from(windows.groups.max(1))
            }
            Function::Recurrent(_) => {
                2.0 * (count(of(1)) + count(of(2))) / f64::from(*of(2).last().unwrap_or(&1))
            }
            Function::Pool { windows, .. } => count(&windows.kernel),
            Function::Softmax { .. } | Function::Normalise { .. } => 8.0,
            _ => 2.0,
        }
    }
}

/// The number of elements, if it is from 1 to 2^30 and there are not too many dimensions.
fn elements(dims: &[u32]) -> Option<u64> {
    if dims.len() > MAX_AXES {
        return None;
    }
    let product = |product: u64, dim: &u32| product.checked_mul(u64::from(*dim));
    let product = dims.iter().try_fold(1u64, product)?;
    (1..=1 << 30).contains(&product).then_some(product)
}

/// What two tensors make when each is repeated along the dimensions in which it is 1; dimensions
/// are aligned at the end.
pub(crate) fn broadcast(a: &[u32], b: &[u32]) -> Option<Dims> {
    let rank = a.len().max(b.len());
    let dim = |dims: &[u32], axis: usize| {
        (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis])
    };
    (0..rank)
        .map(|axis| match (dim(a, axis), dim(b, axis)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        })
        .collect()
}
