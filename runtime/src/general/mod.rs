//! Computes functions of whole tensors, for layers that are not split and for constants.
//!
//! Products of matrices, reductions, softmax, normalisations and convolutions are burn's, on its
//! ndarray backend. What burn lacks, or has for some ranks only (indices of all kinds, pools,
//! recurrent networks), is written out in plain loops, since none of it is where a network spends
//! its time. An operator that is deserves a kernel and a region rule of its own.
//!
//! ```
//! use edgeld_runtime::general::evaluate;
//! use edgeld_runtime::graph::{Binary, Function, General};
//! let sum = General { function: Function::Binary(Binary::Add), dims: vec![vec![2, 2], vec![2]] };
//! let found = evaluate(&sum, &[vec![1.0, 2.0, 3.0, 4.0], vec![10.0, 20.0]]);
//! assert_eq!(found, Some(vec![11.0, 22.0, 13.0, 24.0]));
//! ```

mod array;
mod binary;
mod einsum;
mod index;
mod math;
mod recurrent;
mod sample;
mod scatter;
mod window;

use self::array::Array;
use crate::graph::{Function, General};

/// The elements of the result, for the elements of each input. `None` if these are not as many as
/// the dimensions say, or the function does not take them.
pub fn evaluate(general: &General, inputs: &[impl AsRef<[f32]>]) -> Option<Vec<f32>> {
    let output = general.output()?;
    if inputs.len() != general.dims.len() {
        return None;
    }
    let arrays: Option<Vec<Array<'_>>> = general
        .dims
        .iter()
        .zip(inputs)
        .map(|(dims, elements)| Array::new(dims, elements.as_ref()))
        .collect();
    let arrays = arrays?;
    let inputs = &arrays[..];
    let dims = &array::lengths(&output)[..];
    Some(match (&general.function, inputs) {
        (Function::Binary(binary), [a, b]) => binary::binary(*binary, a, b, dims),
        (Function::Where, [condition, a, b]) => binary::select(condition, a, b, dims),
        (Function::Reduce { by, axes }, [x]) => math::reduce(*by, x, axes),
        (Function::ArgExtreme { axis, least, last }, [x]) => {
            math::arg_extreme(x, *axis as usize, *least, *last)
        }
        (Function::MatMul, [a, b]) => math::matmul(a, b, dims),
        (Function::Softmax { axis, log }, [x]) => math::softmax(x, *axis as usize, *log),
        (Function::Hardmax { axis }, [x]) => math::hardmax(x, *axis as usize),
        (Function::Normalise { axes, epsilon }, [x]) => math::normalise(x, axes, *epsilon),
        (Function::CumSum { axis, exclusive, reverse }, [x]) => {
            math::cumulative_sum(x, *axis as usize, *exclusive, *reverse)
        }
        (Function::Lrn(lrn), [x]) => window::lrn(lrn, x),
        (Function::Einsum(sum), _) => einsum::einsum(sum, inputs, dims),
        (Function::Expand { .. }, [x]) => index::expand(x, dims),
        (Function::Concat { axis }, _) => index::concat(inputs, *axis as usize, dims),
        (Function::Slice { strides }, [x]) => index::slice(x, strides, dims),
        (Function::Pad { mode, before, .. }, [x]) => index::pad(x, *mode, before, dims),
        (Function::Gather { axis }, [x, indices]) => index::gather(x, indices, *axis as usize),
        (Function::GatherElements { axis }, [x, indices]) => {
            index::gather_elements(x, indices, *axis as usize)
        }
        (Function::GatherNd { batch }, [x, indices]) => {
            index::gather_nd(x, indices, *batch as usize)
        }
        (Function::OneHot { axis, depth }, [x]) => index::one_hot(x, *axis as usize, *depth, dims),
        (Function::TopK { axis, count, largest, indices }, [x]) => {
            index::top_k(x, *axis as usize, *count as usize, *largest, *indices)
        }
        (Function::Triangle { upper, offset }, [x]) => index::triangle(x, *upper, *offset),
        (Function::ScatterElements { axis, by }, [x, indices, updates]) => {
            scatter::scatter_elements(x, indices, updates, *axis as usize, *by)
        }
        (Function::ScatterNd { by }, [x, indices, updates]) => {
            scatter::scatter_nd(x, indices, updates, *by)
        }
        (Function::Conv(windows), [x, weights]) => window::conv(windows, x, weights)?,
        (Function::ConvTranspose { windows, extra }, [x, weights]) => {
            window::conv_transpose(windows, extra, x, weights)?
        }
        (Function::Pool { by, windows }, [x]) => window::pool(*by, windows, x, dims),
        (Function::Recurrent(network), _) => recurrent::recurrent(network, inputs, dims),
        (Function::Resize(resize), [x]) => sample::resize(resize, x, dims),
        (Function::GridSample { by, outside, align_corners }, [x, grid]) => {
            sample::grid_sample(*by, *outside, *align_corners, x, grid)
        }
        (Function::RoiAlign(roi), [x, boxes, batches]) => sample::roi_align(roi, x, boxes, batches),
        _ => return None,
    })
}
