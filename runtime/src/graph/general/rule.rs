//! The shape rules: the dimensions of a function's result.

use super::function::{Einsum, Function, PadMode, Recurrent, Resize};
use super::{Dims, MAX_AXES, broadcast};

/// Along how many axes a convolution goes: as many as burn's largest has.
const MOST_CONV_AXES: usize = 3;

impl Function {
    /// Its name, for display.
    pub fn name(&self) -> &'static str {
        match self {
            Function::Binary(_) => "binary",
            Function::Where => "where",
            Function::Reduce { .. } => "reduce",
            Function::ArgExtreme { .. } => "arg-extreme",
            Function::MatMul => "matmul",
            Function::Einsum(_) => "einsum",
            Function::Expand { .. } => "expand",
            Function::Concat { .. } => "join",
            Function::Slice { .. } => "pick",
            Function::Pad { .. } => "pad",
            Function::Gather { .. } => "gather",
            Function::GatherElements { .. } => "gather-elements",
            Function::GatherNd { .. } => "gather-nd",
            Function::ScatterElements { .. } => "scatter-elements",
            Function::ScatterNd { .. } => "scatter-nd",
            Function::OneHot { .. } => "one-hot",
            Function::CumSum { .. } => "cumulative-sum",
            Function::TopK { .. } => "top-k",
            Function::Triangle { .. } => "triangle",
            Function::Softmax { .. } => "softmax-along",
            Function::Hardmax { .. } => "hardmax",
            Function::Normalise { .. } => "normalise",
            Function::Lrn(_) => "lrn-of-any-rank",
            Function::Conv(_) => "conv-of-any-rank",
            Function::ConvTranspose { .. } => "conv-transpose",
            Function::Pool { .. } => "pool-of-any-rank",
            Function::Recurrent(_) => "recurrent",
            Function::Resize(_) => "resize",
            Function::GridSample { .. } => "grid-sample",
            Function::RoiAlign(_) => "roi-align",
        }
    }

    /// The dimensions of the result for these inputs, each of at least one element; `None` if they
    /// do not fit. The result may still be empty or too large.
    pub(super) fn output(&self, inputs: &[&[u32]]) -> Option<Dims> {
        let one = || match inputs {
            [input] => Some(*input),
            _ => None,
        };
        let has_axis = |dims: &[u32], axis: u32| (axis as usize) < dims.len();
        let along = |axis: u32| one().filter(|dims| has_axis(dims, axis));
        match self {
            Function::Binary(_) => match inputs {
                [a, b] => broadcast(a, b),
                _ => None,
            },
            Function::Where => match inputs {
                [condition, a, b] => broadcast(condition, &broadcast(a, b)?),
                _ => None,
            },
            Function::Reduce { axes, .. } => reduced(one()?, axes),
            Function::ArgExtreme { axis, .. } => reduced(one()?, &[*axis]),
            Function::MatMul => match inputs {
                [a, b] => product(a, b),
                _ => None,
            },
            Function::Einsum(sum) => einsum(sum, inputs),
            Function::Expand { dims } => broadcast(one()?, dims).filter(|reached| reached == dims),
            Function::Concat { axis } => joined(*axis as usize, inputs),
            Function::Slice { strides } => {
                let input = one()?;
                let fits = strides.iter().zip(input).all(|(stride, len)| stride.fits(*len));
                (fits && strides.len() == input.len())
                    .then(|| strides.iter().map(|stride| stride.count).collect())
            }
            Function::Pad { mode, before, after } => padded(one()?, *mode, before, after),
            Function::Gather { axis } => match inputs {
                [data, indices] if has_axis(data, *axis) => {
                    let axis = *axis as usize;
                    Some([&data[..axis], indices, &data[axis + 1..]].concat())
                }
                _ => None,
            },
            Function::GatherElements { axis } => match inputs {
                [data, indices] => within(data, indices, *axis).then(|| indices.to_vec()),
                _ => None,
            },
            Function::GatherNd { batch } => match inputs {
                [data, indices] => {
                    let (batch, (last, places)) = (*batch as usize, indices.split_last()?);
                    let common = batch <= places.len() && data.get(..batch)? == &places[..batch];
                    let rest = data.get(batch + *last as usize..)?;
                    (common && *last > 0).then(|| [places, rest].concat())
                }
                _ => None,
            },
            Function::ScatterElements { axis, .. } => match inputs {
                [data, indices, updates] => {
                    (within(data, indices, *axis) && indices == updates).then(|| data.to_vec())
                }
                _ => None,
            },
            Function::ScatterNd { .. } => match inputs {
                [data, indices, updates] => {
                    let (last, places) = indices.split_last()?;
                    let rest = data.get(*last as usize..)?;
                    let fits = *last > 0 && *updates == [places, rest].concat();
                    fits.then(|| data.to_vec())
                }
                _ => None,
            },
            Function::OneHot { axis, depth } => {
                let (input, axis) = (one()?, *axis as usize);
                let (before, after) = (input.get(..axis)?, input.get(axis..)?);
                Some([before, &[*depth], after].concat())
            }
            Function::TopK { axis, count, .. } => {
                let mut dims = along(*axis)?.to_vec();
                let len = &mut dims[*axis as usize];
                let fits = *count <= *len;
                *len = *count;
                fits.then_some(dims)
            }
            Function::CumSum { axis, .. }
            | Function::Softmax { axis, .. }
            | Function::Hardmax { axis } => along(*axis).map(<[u32]>::to_vec),
            Function::Triangle { .. } => one().filter(|dims| dims.len() >= 2).map(<[u32]>::to_vec),
            Function::Normalise { axes, .. } => {
                reduced(one()?, axes).and_then(|_| one().map(<[u32]>::to_vec))
            }
            Function::Lrn(lrn) => {
                one().filter(|dims| dims.len() >= 2 && lrn.size > 0).map(<[u32]>::to_vec)
            }
            Function::Conv(windows) => match inputs {
                [x, weights] => {
                    let ([batch, channels, x @ ..], [features, inputs, kernel @ ..]) = (x, weights)
                    else {
                        return None;
                    };
                    let fits = kernel.len() <= MOST_CONV_AXES
                        && inputs.checked_mul(windows.groups) == Some(*channels)
                        && features.is_multiple_of(windows.groups)
                        && windows.kernel == kernel;
                    let maps = windows.outputs(x)?;
                    fits.then(|| [&[*batch, *features], &maps[..]].concat())
                }
                _ => None,
            },
            Function::ConvTranspose { windows, extra } => match inputs {
                [x, weights] => {
                    let ([batch, channels, x @ ..], [inputs, features, kernel @ ..]) = (x, weights)
                    else {
                        return None;
                    };
                    let fits = kernel.len() <= MOST_CONV_AXES
                        && inputs == channels
                        && windows.kernel == kernel;
                    let features = features.checked_mul(windows.groups)?;
                    let maps = windows.inputs(x, extra)?;
                    (fits && channels.is_multiple_of(windows.groups))
                        .then(|| [&[*batch, features], &maps[..]].concat())
                }
                _ => None,
            },
            Function::Pool { windows, .. } => {
                let [batch, channels, x @ ..] = one()? else { return None };
                Some([&[*batch, *channels], &windows.outputs(x)?[..]].concat())
            }
            Function::Recurrent(network) => recurrent(network, inputs),
            Function::Resize(resize) => resized(one()?, resize),
            Function::GridSample { .. } => match inputs {
                [[batch, channels, _, _], [grids, rows, cols, 2]] => {
                    (batch == grids).then(|| vec![*batch, *channels, *rows, *cols])
                }
                _ => None,
            },
            Function::RoiAlign(roi) => match inputs {
                [[_, channels, _, _], [boxes, 4], [batches]] => {
                    let (rows, cols) = roi.size;
                    let sound = roi.scale.is_finite() && roi.samples <= 64;
                    (boxes == batches && sound).then(|| vec![*boxes, *channels, rows, cols])
                }
                _ => None,
            },
        }
    }
}

/// With dimensions of 1 in place of `axes`, which are ascending.
fn reduced(input: &[u32], axes: &[u32]) -> Option<Dims> {
    let mut dims = input.to_vec();
    for axis in axes {
        *dims.get_mut(*axis as usize)? = 1;
    }
    axes.is_sorted_by(|a, b| a < b).then_some(dims)
}

fn product(a: &[u32], b: &[u32]) -> Option<Dims> {
    let ([a @ .., rows, inner], [b @ .., same, cols]) = (a, b) else { return None };
    let batch = broadcast(a, b)?;
    (inner == same).then(|| [&batch[..], &[*rows, *cols]].concat())
}

fn einsum(sum: &Einsum, inputs: &[&[u32]]) -> Option<Dims> {
    let mut lens = [0u32; 64];
    if sum.inputs.len() != inputs.len() {
        return None;
    }
    for (letters, dims) in sum.inputs.iter().zip(inputs) {
        if letters.len() != dims.len() {
            return None;
        }
        for (letter, dim) in letters.iter().zip(*dims) {
            let len = lens.get_mut(usize::from(*letter))?;
            if *len != 0 && *len != *dim {
                return None;
            }
            *len = *dim;
        }
    }
    // All letters together are the axes over which products are walked.
    let mut work = lens.iter().filter(|len| **len > 0);
    let work = work.try_fold(1u64, |all, len| all.checked_mul(u64::from(*len)));
    let mut seen = sum.output.clone();
    seen.sort_unstable();
    seen.dedup();
    let known = sum.output.iter().all(|letter| lens.get(usize::from(*letter)) > Some(&0));
    (known && seen.len() == sum.output.len() && work.is_some_and(|work| work <= 1 << 36))
        .then(|| sum.output.iter().map(|letter| lens[usize::from(*letter)]).collect())
}

fn joined(axis: usize, inputs: &[&[u32]]) -> Option<Dims> {
    let (first, rest) = inputs.split_first()?;
    let mut dims = first.to_vec();
    for other in rest {
        let len = dims.get(axis)?.checked_add(*other.get(axis)?)?;
        let same = |index: usize| index == axis || dims[index] == other[index];
        if other.len() != dims.len() || !(0..dims.len()).all(same) {
            return None;
        }
        dims[axis] = len;
    }
    (axis < dims.len()).then_some(dims)
}

fn padded(input: &[u32], mode: PadMode, before: &[i32], after: &[i32]) -> Option<Dims> {
    if before.len() != input.len() || after.len() != input.len() {
        return None;
    }
    (input.iter().zip(before.iter().zip(after)))
        .map(|(len, (before, after))| {
            // A reflection reaches no further than the other end.
            let most = i64::from((*before).max(*after));
            if mode == PadMode::Reflect && most >= i64::from(*len) {
                return None;
            }
            u32::try_from(i64::from(*len) + i64::from(*before) + i64::from(*after)).ok()
        })
        .collect()
}

/// Whether indices along `axis` have as many axes as the data, none of the others longer.
fn within(data: &[u32], indices: &[u32], axis: u32) -> bool {
    let axis = axis as usize;
    let shorter = |index: usize| index == axis || indices[index] <= data[index];
    axis < data.len() && data.len() == indices.len() && (0..data.len()).all(shorter)
}

fn recurrent(network: &Recurrent, inputs: &[&[u32]]) -> Option<Dims> {
    use super::function::Cell;
    let gates = match network.cell {
        Cell::Lstm => 4,
        Cell::Gru { .. } => 3,
        Cell::Rnn => 1,
    };
    let directions = network.direction.count();
    let ([steps, batch, features], [_, _, hidden]) = (*inputs.first()?, *inputs.get(2)?) else {
        return None;
    };
    let rows = hidden.checked_mul(gates)?;
    let state = vec![directions, *batch, *hidden];
    let mut wanted: Vec<Dims> = vec![
        vec![*steps, *batch, *features],
        vec![directions, rows, *features],
        vec![directions, rows, *hidden],
        vec![directions, rows.checked_mul(2)?],
        state.clone(),
    ];
    if network.cell == Cell::Lstm {
        wanted.extend([state.clone(), vec![directions, hidden.checked_mul(3)?]]);
    }
    let fits = inputs.iter().map(|dims| dims.to_vec()).eq(wanted);
    match network.output {
        _ if !fits => None,
        0 => Some(vec![*steps, directions, *batch, *hidden]),
        1 => Some(state),
        2 if network.cell == Cell::Lstm => Some(state),
        _ => None,
    }
}

fn resized(input: &[u32], resize: &Resize) -> Option<Dims> {
    let mut dims = input.to_vec();
    debug_assert!(input.len() <= MAX_AXES);
    *dims.get_mut(resize.axis as usize)? = resize.to;
    // The scale is about that of the lengths, whatever a file or a peer says.
    let reached = resize.scale * f64::from(input[resize.axis as usize]);
    let fits = (f64::from(resize.to) - reached).abs() <= 1.0;
    (resize.to > 0 && resize.scale > 0.0 && fits).then_some(dims)
}

#[cfg(test)]
mod tests {
    use super::super::function::{Binary, Stride};
    use super::super::window::Windows;
    use super::*;

    #[test]
    fn dimensions_are_aligned_at_the_end() {
        let add = Function::Binary(Binary::Add);
        assert_eq!(add.output(&[&[2, 1, 4], &[3, 1]]), Some(vec![2, 3, 4]));
        assert_eq!(add.output(&[&[2, 3], &[2]]), None);
        assert_eq!(Function::MatMul.output(&[&[5, 2, 3], &[3, 4]]), Some(vec![5, 2, 4]));
        assert_eq!(Function::MatMul.output(&[&[2, 3], &[2, 3]]), None);
    }

    #[test]
    fn indices_stay_on_their_axes() {
        let backwards = Stride { start: 4, step: -2, count: 3 };
        let slice = |stride| Function::Slice { strides: vec![stride] }.output(&[&[5]]);
        assert_eq!(slice(backwards), Some(vec![3]));
        assert_eq!(slice(Stride { count: 4, ..backwards }), None);
        assert_eq!(slice(Stride { start: 5, step: 1, count: 1 }), None);
        assert_eq!(slice(Stride { count: 0, ..backwards }), None);
        let gather = Function::GatherNd { batch: 0 };
        assert_eq!(gather.output(&[&[2, 3, 4], &[7, 2]]), Some(vec![7, 4]));
        assert_eq!(gather.output(&[&[2, 3, 4], &[7, 4]]), None);
    }

    #[test]
    fn windows_and_their_transpose() {
        let windows = Windows {
            kernel: vec![3],
            stride: vec![2],
            dilation: vec![1],
            before: vec![1],
            after: vec![1],
            ceil: false,
            groups: 1,
        };
        assert_eq!(windows.outputs(&[9]), Some(vec![5]));
        assert_eq!(windows.inputs(&[5], &[0]), Some(vec![9]));
        assert_eq!(windows.outputs(&[0]), None);
        let none = Windows { stride: vec![0], ..windows.clone() };
        assert_eq!(none.outputs(&[9]), None);
        let ceil =
            Windows { kernel: vec![2], before: vec![0], after: vec![0], ceil: true, ..windows };
        assert_eq!(ceil.outputs(&[5]), Some(vec![3]));
    }
}
