//! Windows on tensors of any rank: convolutions by burn, pools in loops.

use burn::tensor::module::{conv_transpose3d, conv3d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

use super::array::{Array, distances, each_index, elements, lengths};
use super::index::pad;
use crate::graph::{Aggregate, Lrn, PadMode, Windows};
use crate::kernel::memory::storage::{self, Tensor};

/// As many axes as burn's largest convolution has; those that a tensor lacks are 1.
const AXES: usize = 3;

/// A convolution; `None` on more axes than burn has.
pub(super) fn conv(windows: &Windows, x: &Array<'_>, weights: &Array<'_>) -> Option<Vec<f32>> {
    let padded = padded(windows, x);
    let x = Array { dims: padded.0, elements: &padded.1 };
    let options = ConvOptions::new(
        three(&windows.stride)?,
        [0; AXES],
        three(&windows.dilation)?,
        windows.groups as usize,
    );
    Some(elements(conv3d(volume(&x)?, volume(weights)?, None, options)))
}

/// The transpose of a convolution; `None` on more axes than burn has.
pub(super) fn conv_transpose(
    windows: &Windows,
    extra: &[u32],
    x: &Array<'_>,
    weights: &Array<'_>,
) -> Option<Vec<f32>> {
    let options = ConvTransposeOptions::new(
        three(&windows.stride)?,
        [0; AXES],
        [0; AXES],
        three(&windows.dilation)?,
        windows.groups as usize,
    );
    let whole = conv_transpose3d(volume(x)?, volume(weights)?, None, options);
    let [batch, features, ..] = whole.dims();
    let axes = windows.kernel.len();
    let behind = &whole.dims()[2 + AXES - axes..];
    let dims = [&[batch, features], behind].concat();
    let whole = elements(whole);
    let whole = Array { dims: dims.clone(), elements: &whole };
    // Padding of the convolution is what is left out here.
    let cut = |axis: usize| (windows.before[axis] as i32, windows.after[axis] as i32);
    let mut before = vec![0, 0];
    let mut kept = vec![batch, features];
    for axis in 0..axes {
        let (first, last) = cut(axis);
        before.push(-first);
        let len = dims[2 + axis] as i64 - i64::from(first) - i64::from(last);
        kept.push((len + i64::from(extra[axis])) as usize);
    }
    Some(pad(&whole, PadMode::Constant(0.0), &before, &kept))
}

/// With zeros around it: dimensions and elements.
fn padded(windows: &Windows, x: &Array<'_>) -> (Vec<usize>, Vec<f32>) {
    let mut dims = x.dims.clone();
    let mut before = vec![0, 0];
    for axis in 0..windows.kernel.len() {
        before.push(windows.before[axis] as i32);
        dims[2 + axis] += (windows.before[axis] + windows.after[axis]) as usize;
    }
    let elements = pad(x, PadMode::Constant(0.0), &before, &dims);
    (dims, elements)
}

/// As a batch of channels of volumes.
fn volume(x: &Array<'_>) -> Option<Tensor<5>> {
    let axes = x.dims.len() - 2;
    let mut dims = [1; 2 + AXES];
    dims[..2].copy_from_slice(&x.dims[..2]);
    dims.get_mut(2 + AXES.checked_sub(axes)?..)?.copy_from_slice(&x.dims[2..]);
    Some(storage::tensor_of(dims, x.elements.to_vec()))
}

/// Numbers per axis, 1 for the first axes if there are fewer.
fn three(numbers: &[u32]) -> Option<[usize; AXES]> {
    let mut all = [1; AXES];
    let first = AXES.checked_sub(numbers.len())?;
    all[first..].copy_from_slice(&lengths(numbers));
    Some(all)
}

/// Pooling with a result of these dimensions.
pub(super) fn pool(by: Aggregate, windows: &Windows, x: &Array<'_>, dims: &[usize]) -> Vec<f32> {
    let axes = windows.kernel.len();
    let (kernel, lens) = (lengths(&windows.kernel), &x.dims[2..]);
    let (near, map) = (distances(lens), lens.iter().product::<usize>());
    // In the order of Fortran, for indices.
    let far: Vec<usize> = (0..axes).map(|axis| lens[..axis].iter().product()).collect();
    let mut result = Vec::with_capacity(dims.iter().product());
    each_index(dims, |index| {
        let start = (index[0] * dims[1] + index[1]) * map;
        let mut state = Pooled::default();
        each_index(&kernel, |cell| {
            let (mut at, mut far_at, mut inside, mut padded) = (0, 0, true, true);
            for axis in 0..axes {
                let place = (index[2 + axis] * windows.stride[axis] as usize
                    + cell[axis] * windows.dilation[axis] as usize)
                    as i64
                    - i64::from(windows.before[axis]);
                let len = lens[axis] as i64;
                inside &= (0..len).contains(&place);
                padded &= place < len + i64::from(windows.after[axis]);
                at += place.clamp(0, len - 1) as usize * near[axis];
                far_at += place.clamp(0, len - 1) as usize * far[axis];
            }
            state.cells += usize::from(padded);
            if inside {
                let at_index = match by {
                    Aggregate::Index { column_major: true } => start + far_at,
                    _ => start + at,
                };
                state.add(by, x.elements[start + at], at_index);
            }
        });
        result.push(state.value(by));
    });
    result
}

/// What is known of a window so far.
#[derive(Default)]
struct Pooled {
    best: Option<(f32, usize)>,
    sum: f32,
    inside: usize,
    /// Cells in the tensor or its padding.
    cells: usize,
}

impl Pooled {
    fn add(&mut self, by: Aggregate, value: f32, at: usize) {
        self.inside += 1;
        match by {
            Aggregate::Average { .. } => self.sum += value,
            Aggregate::Lp { p } => self.sum += libm::powf(value.abs(), p as f32),
            Aggregate::Max | Aggregate::Index { .. } => {
                if self.best.is_none_or(|(best, _)| value > best) {
                    self.best = Some((value, at));
                }
            }
        }
    }

    fn value(&self, by: Aggregate) -> f32 {
        match by {
            Aggregate::Max => self.best.map_or(f32::NEG_INFINITY, |(value, _)| value),
            Aggregate::Index { .. } => self.best.map_or(0.0, |(_, at)| at as f32),
            Aggregate::Average { padded: true } => self.sum / self.cells.max(1) as f32,
            Aggregate::Average { padded: false } => self.sum / self.inside.max(1) as f32,
            Aggregate::Lp { p } => libm::powf(self.sum, 1.0 / p as f32),
        }
    }
}

/// Every element over a power of the mean square of the channels around it.
pub(super) fn lrn(lrn: &Lrn, x: &Array<'_>) -> Vec<f32> {
    let (batches, channels, inner) = x.around(1);
    let mut result = Vec::with_capacity(x.elements.len());
    for batch in 0..batches {
        for channel in 0..channels {
            let around = lrn.around(channel as u32, channels as u32);
            result.extend((0..inner).map(|i| {
                let at = |channel: usize| x.elements[(batch * channels + channel) * inner + i];
                let squares = around.indices().map(|channel| at(channel) * at(channel));
                let mean = squares.sum::<f32>() / lrn.size as f32;
                at(channel) / libm::powf(lrn.bias + lrn.alpha * mean, lrn.beta)
            }));
        }
    }
    result
}
