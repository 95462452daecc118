//! `ConvTranspose` as a convolution whose results are placed side by side.
//!
//! Output o = s q + p of stride s and phase p is a sum over elements q, q - 1, ..., each times cell
//! p, p + s, ... of the kernel. So the outputs of one phase are a convolution with every s-th cell,
//! the last one first, and those of all phases lie side by side: a convolution with s x s times as
//! many features, and a `DepthToSpace`, both of which are split by rows (Shi et al., 2016, "Is the
//! deconvolution layer the same as a convolutional layer?"). What is padded is cut off.
//!
//! ```text
//! kernel 4, stride 2     phase 0: cells 2, 0     phase 1: cells 3, 1
//! kernel 3, stride 2     phase 0: cells 2, 0     phase 1: cells -, 1    (a zero)
//! ```

use std::sync::Arc;

use super::loaded::{Loaded, one};
use super::window::{groups, side, transposed_windows};
use crate::graph::{Conv, Op, Pick, Slice, Sweep, Window};
use crate::onnx::constant::{Constant, Data};
use crate::onnx::error::Problem;
use crate::onnx::import::Import;
use crate::onnx::node::Node;

/// How many times as many weights as the file's may be made, zeros included,
const MOST_COPIES: u64 = 4;
/// plus this many.
const MOST_EXTRA: u64 = 1 << 16;

/// `ConvTranspose` by constants, of equal strides and without dilation.
pub(crate) fn conv_transpose(import: &mut Import, node: &Node) -> Loaded {
    let (view, input) = import.map(&node.name, node.view(0)?)?;
    let weight = node.constant(1)?;
    let [channels, features, rows, cols] = weight.dims[..] else {
        let wanted = "weights are channels x features x rows x columns".to_owned();
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    };
    let (kernel, groups) = (vec![side(rows)?, side(cols)?], groups(node)?);
    let lens = [u64::from(input.rows), u64::from(input.width)];
    let (windows, extra) = transposed_windows(node, &lens, kernel)?;
    let [stride, other] = windows.stride[..] else { return Err(Problem::InputMissing(0)) };
    if stride != other || windows.dilation != [1; 2] {
        let what = "strides that differ, or dilations";
        return Err(Problem::Unsupported(what.to_owned()));
    }
    if channels != u64::from(input.channels) || !channels.is_multiple_of(groups.into()) {
        let wanted = format!("there are {} channels in {groups} groups", input.channels);
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    }
    let axis = |axis: usize| {
        let (before, after) = (windows.before[axis], windows.after[axis]);
        Axis::of(lens[axis], windows.kernel[axis], stride, [before, after, extra[axis]])
    };
    let (Some(down), Some(across)) = (axis(0), axis(1)) else {
        return Err(Problem::Invalid("padding larger than the result".to_owned()));
    };
    let weight = apart(weight, groups.into(), [down, across])?;
    let cells = weight.dims[0] as u32;
    let all = features * u64::from(groups);
    let weight = import.parameter(&format!("{}/weight", node.name), cells, &weight)?;
    let bias = match node.optional(2)? {
        Some(bias) if bias.elements() == all => {
            let each = bias.to_floats()?.into_iter();
            let count = (stride * stride) as usize;
            let biases: Vec<f32> = each.flat_map(|bias| vec![bias; count]).collect();
            Some(import.per_feature(&format!("{}/bias", node.name), &biases))
        }
        Some(bias) => return Err(bias.problem(&format!("there are {all} features"))),
        None => None,
    };
    let window = Window { rows: down.sweep(), cols: across.sweep() };
    let conv = Conv { features: cells, groups, window, weight, scale: None, bias };
    let name = import.unique_name(&format!("{}/cells", node.name));
    let mut made = import.layer(&name, Op::Conv(conv), &[&view])?;
    if stride > 1 {
        let name = import.unique_name(&node.name);
        made = import.layer(&name, Op::DepthToSpace { block: stride }, &[&made])?;
    }
    let shape = import.shape(&made);
    let slice = Slice { rows: down.kept(), cols: across.kept(), ..Slice::all(shape) };
    if slice != Slice::all(shape) {
        let name = import.unique_name(&format!("{}/cut", node.name));
        made = import.layer(&name, Op::Slice(slice), &[&made])?;
    }
    one(made)
}

/// Rows or columns of a transposed convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    /// Cells of the kernel.
    kernel: u32,
    stride: u32,
    /// Cells that one phase has.
    taps: u32,
    /// How many elements behind the last one results reach.
    behind: u32,
    /// How much is cut off before the first output.
    before: u32,
    outputs: u32,
}

impl Axis {
    /// For an input of `len` elements; `None` if nothing comes out, or too much.
    fn of(len: u64, kernel: u32, stride: u32, [before, after, extra]: [u32; 3]) -> Option<Axis> {
        let whole = (len - 1) * u64::from(stride) + u64::from(kernel) + u64::from(extra);
        let outputs = whole.checked_sub(u64::from(before) + u64::from(after))?;
        let needed = (u64::from(before) + outputs).div_ceil(stride.into());
        Some(Axis {
            kernel,
            stride,
            taps: kernel.div_ceil(stride),
            behind: u32::try_from(needed.saturating_sub(len)).ok()?,
            before,
            outputs: u32::try_from(outputs).ok().filter(|outputs| *outputs > 0)?,
        })
    }

    /// The convolution of all phases.
    fn sweep(&self) -> Sweep {
        let (pad_before, pad_after) = (self.taps - 1, self.behind);
        Sweep { kernel: self.taps, pad_before, pad_after, ..Sweep::point() }
    }

    /// What is kept of the phases' results, side by side.
    fn kept(&self) -> Pick {
        Pick { start: self.before, step: 1, count: self.outputs }
    }

    /// The kernel's cell that tap `tap` of a phase takes.
    fn cell(&self, phase: u32, tap: u32) -> Option<u64> {
        let cell = phase + self.stride * (self.taps - 1 - tap);
        (cell < self.kernel).then_some(cell.into())
    }
}

/// The weights of all phases: features x phases, channels of a group, taps.
fn apart(weight: &Constant, groups: u64, [down, across]: [Axis; 2]) -> Result<Constant, Problem> {
    let [channels, features, rows, cols] = weight.dims[..] else {
        return Err(weight.problem("four dimensions are needed"));
    };
    let phases = u64::from(down.stride).saturating_pow(2);
    let (own, taps) = (channels / groups, u64::from(down.taps) * u64::from(across.taps));
    let dims = vec![
        (features * groups).saturating_mul(phases),
        own,
        u64::from(down.taps),
        u64::from(across.taps),
    ];
    let count = dims[0].saturating_mul(own).saturating_mul(taps);
    if count > MOST_COPIES * weight.elements() + MOST_EXTRA {
        return Err(Problem::Unsupported("strides much larger than the kernel".to_owned()));
    }
    if let Data::Fill(_) = weight.data
        && count == weight.elements()
    {
        return Ok(Constant { dims, ..weight.clone() });
    }
    let (bytes, size) = (weight.bytes()?, weight.element.size() as usize);
    let mut data = vec![0; count as usize * size];
    let mut places = data.chunks_exact_mut(size);
    for feature in 0..features * groups {
        let (group, feature) = (feature / features, feature % features);
        for phase in 0..phases as u32 {
            let (phase_row, phase_col) = (phase / down.stride, phase % down.stride);
            for channel in group * own..(group + 1) * own {
                for tap in 0..taps as u32 {
                    let row = down.cell(phase_row, tap / across.taps);
                    let col = across.cell(phase_col, tap % across.taps);
                    let Some(place) = places.next() else { break };
                    if let (Some(row), Some(col)) = (row, col) {
                        let at = ((channel * features + feature) * rows + row) * cols + col;
                        place.copy_from_slice(&bytes[at as usize * size..][..size]);
                    }
                }
            }
        }
    }
    Ok(Constant { dims, data: Data::Held(Arc::from(data)), ..weight.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_take_every_other_cell_from_the_last_on() {
        let axis = |kernel| Axis::of(5, kernel, 2, [1, 1, 0]).unwrap();
        let cells = |axis: Axis, phase| [0, 1].map(|tap| axis.cell(phase, tap));
        assert_eq!(cells(axis(4), 0), [Some(2), Some(0)]);
        assert_eq!(cells(axis(4), 1), [Some(3), Some(1)]);
        assert_eq!(cells(axis(3), 1), [None, Some(1)]);
    }

    #[test]
    fn results_are_as_long_as_onnx_says() {
        // (5 - 1) * 2 + 4 - 1 - 1 = 10, from element -1 to 5.
        let axis = Axis::of(5, 4, 2, [1, 1, 0]).unwrap();
        assert_eq!((axis.outputs, axis.behind, axis.sweep().outputs(5)), (10, 1, Some(6)));
        // One more, where padding took one.
        assert_eq!(Axis::of(5, 3, 2, [1, 1, 1]).unwrap().outputs, 10);
        assert_eq!(Axis::of(1, 2, 1, [1, 1, 0]), None);
    }
}
