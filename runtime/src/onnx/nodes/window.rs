//! Operators that slide a window over a map, and means over all of it.

use super::loaded::{Loaded, one};
use crate::graph::{Conv, Op, Pool, Reduction, Shape, Sweep, Window, Windows};
use crate::onnx::constant::Constant;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, View};
use crate::onnx::node::{Node, axis};

/// The largest kernel, stride, dilation or padding.
const MAX_SIDE: u32 = 1 << 16;

/// `Conv`: a convolution; its weights are constants. A sequence is a map that is one pixel wide.
pub(crate) fn conv(import: &mut Import, node: &Node) -> Loaded {
    let (view, weight) = (node.view(0)?, node.constant(1)?);
    if let [batch, channels, steps] = view.dims[..] {
        let map = view.reshaped(vec![batch, channels, steps, 1])?;
        let weight = weight.reshaped([&weight.dims[..], &[1]].concat())?;
        let result = convolved(import, node, &map, &weight)?;
        let dims = result.dims[..3].to_vec();
        return one(result.reshaped(dims)?);
    }
    one(convolved(import, node, view, weight)?)
}

fn convolved(
    import: &mut Import,
    node: &Node,
    view: &View,
    weight: &Constant,
) -> Result<View, Problem> {
    let axes = node.view(0)?.dims.len().saturating_sub(2);
    let (view, input) = import.map(&node.name, view)?;
    let [features, channels, rows, cols] = weight.dims[..] else {
        let wanted = "weights are features x channels x rows x columns".to_owned();
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    };
    let groups = groups(node)?;
    if channels * u64::from(groups) != u64::from(input.channels) {
        let wanted = format!(
            "{groups} groups of {} input channels need features x {} x rows x columns",
            input.channels,
            input.channels / groups
        );
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    }
    let kernel = [side(rows)?, side(cols)?];
    let stated = numbers(node, "kernel_shape", axes, 1)?;
    if stated.is_some_and(|stated| !kernel.starts_with(&stated)) {
        let what = format!("kernel_shape differs from the {rows} x {cols} of the weights");
        return Err(Problem::Invalid(what));
    }
    let window = window(node, input, &kernel[..axes])?;
    // Bounded by 2^30 elements, as all constants are.
    let features = features as u32;
    let weight = import.parameter(&format!("{}/weight", node.name), features, weight)?;
    let bias = node.optional(2)?;
    let bias = bias
        .map(|bias| import.parameter(&format!("{}/bias", node.name), features, bias))
        .transpose()?;
    let conv = Conv { features, groups, window, weight, scale: None, bias };
    import.layer(&node.name, Op::Conv(conv), &[&view])
}

/// `Pad` with zeros around a map: a depthwise 1x1 convolution by 1 over the padded map.
pub(crate) fn pad(import: &mut Import, node: &Node) -> Loaded {
    let (view, input) = import.map(&node.name, node.view(0)?)?;
    let channels = input.channels;
    let value = match node.optional(2)? {
        Some(value) if node.opset >= 11 => value.to_floats()?,
        _ => vec![node.float("value", 0.0)?],
    };
    let pads = node.ints_or_input("pads", 1, 11)?.ok_or(Problem::InputMissing(1))?;
    let zeros = matches!(node.text("mode")?, "" | "constant") && value.iter().all(|x| *x == 0.0);
    let ([0, 0, top, left, 0, 0, bottom, right], true) = (&pads[..], zeros) else {
        let what = format!("pads {pads:?}; only constant zeros around rows and columns are");
        return Err(Problem::Unsupported(what));
    };
    let sweep = |before: i64, after: i64| -> Result<Sweep, Problem> {
        let pad = |pad: i64| pick(pad, 0..=i64::from(MAX_SIDE), "pads", "from 0 to 65536");
        Ok(Sweep { pad_before: pad(before)?, pad_after: pad(after)?, ..Sweep::point() })
    };
    let window = Window { rows: sweep(*top, *bottom)?, cols: sweep(*left, *right)? };
    let ones = vec![1.0; channels as usize];
    let weight = import.per_feature(&format!("{}/one", node.name), &ones);
    let conv =
        Conv { features: channels, groups: channels, window, weight, scale: None, bias: None };
    one(import.layer(&node.name, Op::Conv(conv), &[&view])?)
}

/// `MaxPool` without its second output.
pub(crate) fn max_pool(import: &mut Import, node: &Node) -> Loaded {
    if node.outputs() > 1 {
        return Err(Problem::Unsupported("its second output, the indices".to_owned()));
    }
    if node.int("storage_order", 0)? != 0 {
        return Err(Problem::Unsupported("storage_order 1 (column major)".to_owned()));
    }
    pool(import, node, Reduction::Max)
}

/// `AveragePool`.
pub(crate) fn average_pool(import: &mut Import, node: &Node) -> Loaded {
    let count_padding = node.flag("count_include_pad")?;
    pool(import, node, Reduction::Average { count_padding })
}

fn pool(import: &mut Import, node: &Node, reduction: Reduction) -> Loaded {
    let (view, input) = import.map(&node.name, node.view(0)?)?;
    let Some(kernel) = numbers(node, "kernel_shape", 2, 1)? else {
        let wanted = "given: two positive integers";
        return Err(Problem::Attribute { name: "kernel_shape".to_owned(), wanted });
    };
    let window = window(node, input, &kernel)?;
    for sweep in [window.rows, window.cols] {
        let reach = sweep.extent();
        if u64::from(sweep.pad_before) >= reach || u64::from(sweep.pad_after) >= reach {
            return Err(Problem::Invalid("padding as large as the window".to_owned()));
        }
    }
    one(import.layer(&node.name, Op::Pool(Pool { reduction, window }), &[&view])?)
}

/// `GlobalAveragePool`: the mean of every channel.
pub(crate) fn global_average_pool(import: &mut Import, node: &Node) -> Loaded {
    let (view, _) = import.map(&node.name, node.view(0)?)?;
    one(mean(import, node, &view)?)
}

/// `GlobalMaxPool`: the maximum of every channel.
pub(crate) fn global_max_pool(import: &mut Import, node: &Node) -> Loaded {
    let (view, shape) = import.map(&node.name, node.view(0)?)?;
    let window = Window::whole(shape.rows, shape.width);
    one(import.layer(&node.name, Op::Pool(Pool { reduction: Reduction::Max, window }), &[&view])?)
}

/// `ReduceMean` over rows and columns.
pub(crate) fn reduce_mean(import: &mut Import, node: &Node) -> Loaded {
    let (view, _) = import.map(&node.name, node.view(0)?)?;
    if !view.element.is_float() {
        return Err(Problem::Unsupported("a mean of integers".to_owned()));
    }
    let axes = node.ints_or_input("axes", 1, 18)?.unwrap_or_default();
    let axes: Result<Vec<usize>, Problem> = axes.iter().map(|index| axis(*index, 4)).collect();
    let mut axes = axes?;
    axes.sort_unstable();
    if axes != [2, 3] {
        return Err(Problem::Unsupported(format!("a mean over axes {axes:?}; only [2, 3] are")));
    }
    let result = mean(import, node, &view)?;
    match node.int("keepdims", 1)? {
        0 => one(result.reshaped(view.dims[..2].to_vec())?),
        _ => one(result),
    }
}

/// A mean over rows and columns in two layers, so that the first can be split by rows: sums over
/// the width, then the scaled sum over all rows.
fn mean(import: &mut Import, node: &Node, view: &View) -> Result<View, Problem> {
    let shape = import.shape(view);
    let scale = (1.0 / (f64::from(shape.rows) * f64::from(shape.width))) as f32;
    let [rows, sum] =
        ["rows", "sum"].map(|part| import.unique_name(&format!("{}/{part}", node.name)));
    let rows = import.layer(&rows, Op::SumWidth, &[view])?;
    import.layer(&sum, Op::SumRows { scale }, &[&rows])
}

/// The window of a node with this kernel over rows and columns, or over rows alone.
fn window(node: &Node, input: Shape, kernel: &[u32]) -> Result<Window, Problem> {
    let lens = [input.rows, input.width].map(u64::from);
    let lens = lens.get(..kernel.len()).unwrap_or(&lens);
    let windows = windows(node, lens, kernel.to_vec())?;
    let sweep = |axis: usize| Sweep {
        kernel: windows.kernel[axis],
        stride: windows.stride[axis],
        dilation: windows.dilation[axis],
        pad_before: windows.before[axis],
        pad_after: windows.after[axis],
        ceil: windows.ceil,
    };
    Ok(Window { rows: sweep(0), cols: if lens.len() > 1 { sweep(1) } else { Sweep::point() } })
}

/// The windows of a node with this kernel over axes of these lengths.
pub(super) fn windows(node: &Node, lens: &[u64], kernel: Vec<u32>) -> Result<Windows, Problem> {
    let axes = lens.len();
    if kernel.len() != axes || kernel.contains(&0) {
        let what = format!("a kernel of {kernel:?} over {axes} axes");
        return Err(Problem::Invalid(what));
    }
    let stride = numbers(node, "strides", axes, 1)?.unwrap_or_else(|| vec![1; axes]);
    let dilation = numbers(node, "dilations", axes, 1)?.unwrap_or_else(|| vec![1; axes]);
    let pads = numbers(node, "pads", 2 * axes, 0)?.unwrap_or_else(|| vec![0; 2 * axes]);
    let (before, after) = pads.split_at(axes);
    let (before, after) = (before.to_vec(), after.to_vec());
    let ceil = node.flag("ceil_mode")?;
    let mut windows = Windows { kernel, stride, dilation, before, after, ceil, groups: 1 };
    let first = match node.text("auto_pad")? {
        "" | "NOTSET" => return Ok(windows),
        "VALID" => {
            (windows.before, windows.after) = (vec![0; axes], vec![0; axes]);
            return Ok(windows);
        }
        "SAME_UPPER" => Smaller::Before,
        "SAME_LOWER" => Smaller::After,
        _ => {
            let wanted = "NOTSET, SAME_UPPER, SAME_LOWER or VALID";
            return Err(Problem::Attribute { name: "auto_pad".to_owned(), wanted });
        }
    };
    for (axis, len) in lens.iter().enumerate() {
        // There is an output for every stride that starts in the input.
        let stride = u64::from(windows.stride[axis]);
        let reach = len.div_ceil(stride).saturating_sub(1) * stride + windows.reach(axis);
        (windows.before[axis], windows.after[axis]) = first.of(reach.saturating_sub(*len));
    }
    windows.ceil = false;
    Ok(windows)
}

/// The windows of a transposed convolution, and how much longer its result is.
pub(super) fn transposed_windows(
    node: &Node,
    lens: &[u64],
    kernel: Vec<u32>,
) -> Result<(Windows, Vec<u32>), Problem> {
    let axes = lens.len();
    let mut windows = windows(node, lens, kernel)?;
    let mut extra = numbers(node, "output_padding", axes, 0)?.unwrap_or_else(|| vec![0; axes]);
    let auto = node.text("auto_pad")?;
    let same = matches!(auto, "SAME_UPPER" | "SAME_LOWER");
    let first = if auto == "SAME_UPPER" { Smaller::Before } else { Smaller::After };
    let wanted = numbers(node, "output_shape", axes, 1)?;
    if wanted.is_some() || same {
        for axis in 0..axes {
            let stride = u64::from(windows.stride[axis]);
            let wanted = wanted.as_ref().map_or(lens[axis] * stride, |wanted| wanted[axis].into());
            let all = (lens[axis] - 1) * stride + windows.reach(axis) + u64::from(extra[axis]);
            let missing = u32::try_from(wanted.saturating_sub(all)).unwrap_or(u32::MAX);
            extra[axis] = extra[axis].saturating_add(missing);
            (windows.before[axis], windows.after[axis]) = first.of(all.saturating_sub(wanted));
        }
    }
    Ok((windows, extra))
}

/// How many groups a convolution has.
pub(super) fn groups(node: &Node) -> Result<u32, Problem> {
    pick(node.int("group", 1)?, 1..=i64::from(u32::MAX), "group", "a positive integer")
}

/// Which half of an odd number of padded elements is the smaller one.
enum Smaller {
    Before,
    After,
}

impl Smaller {
    /// What of `total` comes before and after.
    fn of(&self, total: u64) -> (u32, u32) {
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        let before = match self {
            Smaller::Before => total / 2,
            Smaller::After => total.div_ceil(2),
        };
        (before, total - before)
    }
}

/// An attribute of `count` numbers, at least `least`.
pub(super) fn numbers(
    node: &Node,
    name: &str,
    count: usize,
    least: u32,
) -> Result<Option<Vec<u32>>, Problem> {
    let Some(found) = node.ints(name)? else { return Ok(None) };
    let number =
        |value: &i64| u32::try_from(*value).ok().filter(|value| (least..=MAX_SIDE).contains(value));
    let numbers: Option<Vec<u32>> = found.iter().map(number).collect();
    let numbers = numbers.filter(|numbers| numbers.len() == count);
    let wanted = match least {
        0 => "a number from 0 to 65536 for each axis",
        _ => "a number from 1 to 65536 for each axis",
    };
    numbers.map(Some).ok_or_else(|| Problem::Attribute { name: name.to_owned(), wanted })
}

/// A side of a kernel.
pub(super) fn side(value: u64) -> Result<u32, Problem> {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    pick(value, 1..=i64::from(MAX_SIDE), "kernel_shape", "from 1 to 65536 on each side")
}

fn pick(
    value: i64,
    range: std::ops::RangeInclusive<i64>,
    name: &str,
    wanted: &'static str,
) -> Result<u32, Problem> {
    let inside = range.contains(&value).then_some(value);
    inside
        .and_then(|value| u32::try_from(value).ok())
        .ok_or_else(|| Problem::Attribute { name: name.to_owned(), wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_cell_of_same_padding_is_where_it_says() {
        assert_eq!(Smaller::Before.of(1), (0, 1));
        assert_eq!(Smaller::After.of(1), (1, 0));
        assert_eq!(Smaller::After.of(4), (2, 2));
    }
}
