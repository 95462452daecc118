//! Dense layers (convolutions whose window is the whole map) and softmax.

use std::sync::Arc;

use super::loaded::{Loaded, one};
use crate::graph::{Conv, Op, Window};
use crate::onnx::constant::{Constant, Data};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, MAX_CHANNELS, View};
use crate::onnx::node::{Node, axis};

/// `Gemm`: alpha A B + beta C, where B and C are constants.
pub(crate) fn gemm(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    if node.flag("transA")? {
        return Err(Problem::Unsupported("transA".to_owned()));
    }
    if view.dims.len() != 2 {
        let wanted = "it takes 1 x features; put a Flatten before it".to_owned();
        return Err(Problem::Dims { dims: view.dims.clone(), wanted });
    }
    let weight = node.constant(1)?;
    let weight = if node.flag("transB")? { weight.clone() } else { transposed(weight)? };
    let features = weight.dims.first().copied().unwrap_or(0);
    if features > u64::from(MAX_CHANNELS) {
        let wanted = format!("at most {MAX_CHANNELS} features are supported");
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    }
    let alpha = node.float("alpha", 1.0)?;
    let beta = node.float("beta", 1.0)?;
    let bias = match node.optional(2)? {
        None => None,
        Some(bias) if bias.elements() == features && beta == 1.0 => Some(bias.clone()),
        Some(bias) => Some(spread(bias, features, beta)?),
    };
    let dims = vec![1, features];
    one(dense(import, node, view, &weight, alpha, bias.as_ref())?.reshaped(dims)?)
}

/// `MatMul` by a constant matrix.
pub(crate) fn matmul(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    let weight = transposed(node.constant(1)?)?;
    let (_, batch) = view.dims.split_last().unwrap_or((&0, &[]));
    if batch.iter().any(|dim| *dim != 1) {
        let wanted = "only one row of features is supported".to_owned();
        return Err(Problem::Dims { dims: view.dims.clone(), wanted });
    }
    let dims = [batch, &weight.dims[..1]].concat();
    one(dense(import, node, view, &weight, 1.0, None)?.reshaped(dims)?)
}

/// A dense layer; `weight` is features x elements of the input, in order.
fn dense(
    import: &mut Import,
    node: &Node,
    view: &View,
    weight: &Constant,
    factor: f32,
    bias: Option<&Constant>,
) -> Result<View, Problem> {
    let input = import.shape(view);
    let [features, row] = weight.dims[..] else {
        let wanted = "only a matrix is supported".to_owned();
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    };
    if row != input.elements() {
        let wanted = format!("{} numbers are multiplied by it", input.elements());
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    }
    let name = &node.name;
    // Bounded by 2^30 elements, as all constants are.
    let features = features as u32;
    let weight = import.parameter(&format!("{name}/weight"), features, weight)?;
    let scale = (factor != 1.0).then(|| vec![factor; features as usize]);
    let scale = scale.map(|scale| import.per_feature(&format!("{name}/scale"), &scale));
    let bias =
        bias.map(|bias| import.parameter(&format!("{name}/bias"), features, bias)).transpose()?;
    let window = Window::whole(input.rows, input.width);
    let conv = Conv { features, groups: 1, window, weight, scale, bias };
    import.layer(name, Op::Conv(conv), &[view])
}

/// `Softmax` over all elements of a vector.
pub(crate) fn softmax(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    let since_13 = node.opset >= 13;
    let axis = axis(node.int("axis", if since_13 { -1 } else { 1 })?, view.dims.len())?;
    // Before version 13 it was over all axes from this one on.
    let axes = if since_13 { &view.dims[axis..=axis] } else { &view.dims[axis..] };
    if axes.iter().product::<u64>() != import.shape(view).elements() {
        let wanted = format!("only a softmax over all elements is supported, not over axis {axis}");
        return Err(Problem::Dims { dims: view.dims.clone(), wanted });
    }
    one(import.layer(&node.name, Op::Softmax, &[view])?.reshaped(view.dims.clone())?)
}

/// A bias of one number or of one per feature, times `factor`.
fn spread(bias: &Constant, features: u64, factor: f32) -> Result<Constant, Problem> {
    let numbers = bias.to_floats()?;
    let scaled: Vec<f32> = match numbers[..] {
        [number] => vec![number * factor; features as usize],
        _ if numbers.len() as u64 == features => numbers.iter().map(|x| x * factor).collect(),
        _ => {
            let wanted = format!("there are {features} features");
            return Err(Problem::Dims { dims: bias.dims.clone(), wanted });
        }
    };
    Ok(Constant::floats(&bias.name, vec![features], &scaled))
}

/// A transposed matrix: weights are stored output-feature-major.
pub(crate) fn transposed(matrix: &Constant) -> Result<Constant, Problem> {
    let [rows, cols] = matrix.dims[..] else {
        let wanted = "only a matrix is supported".to_owned();
        return Err(Problem::Dims { dims: matrix.dims.clone(), wanted });
    };
    let dims = vec![cols, rows];
    let in_order = rows <= 1 || cols <= 1 || matches!(matrix.data, Data::Fill(_));
    let data = if in_order {
        matrix.data.clone()
    } else {
        let size = matrix.element.size() as usize;
        Data::Held(Arc::from(transpose(&matrix.bytes()?, rows as usize, cols as usize, size)))
    };
    Ok(Constant { dims, data, ..matrix.clone() })
}

/// Transposes `rows` x `cols` elements of `size` bytes, a block at a time, so that both sides stay
/// in the cache.
fn transpose(from: &[u8], rows: usize, cols: usize, size: usize) -> Vec<u8> {
    const BLOCK: usize = 32;
    let mut to = vec![0; from.len()];
    for top in (0..rows).step_by(BLOCK) {
        for left in (0..cols).step_by(BLOCK) {
            for row in top..rows.min(top + BLOCK) {
                for col in left..cols.min(left + BLOCK) {
                    let (source, target) = ((row * cols + col) * size, (col * rows + row) * size);
                    to[target..target + size].copy_from_slice(&from[source..source + size]);
                }
            }
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_exchanges_rows_and_columns() {
        let from: Vec<u8> = (0..70 * 33).flat_map(|index: u16| index.to_le_bytes()).collect();
        let to = transpose(&from, 70, 33, 2);
        for (row, col) in [(0, 0), (69, 32), (40, 31), (31, 32)] {
            let at = (col * 70 + row) * 2;
            assert_eq!(to[at..at + 2], u16::to_le_bytes((row * 33 + col) as u16));
        }
    }
}
