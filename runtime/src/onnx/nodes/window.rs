//! Operators that slide a window over a map, and means over all of it.

use super::dense::transposed;
use super::loaded::{Loaded, one};
use crate::graph::{Conv, Op, Pool, Reduction, Shape, Sweep, Window};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, View};
use crate::onnx::node::{Node, axis};

/// The largest kernel, stride, dilation or padding.
const MAX_SIDE: i64 = 1 << 16;

/// `Conv`: a convolution; its weights are constants.
pub(crate) fn conv(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    let input = import.map(view)?;
    let weight = node.constant(1)?;
    let [features, channels, rows, cols] = weight.dims[..] else {
        let wanted = "weights are features x channels x rows x columns".to_owned();
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    };
    let groups = pick(node.int("group", 1)?, 1..=i64::from(u32::MAX), "group", "positive")?;
    if channels * u64::from(groups) != u64::from(input.channels) {
        let wanted = format!(
            "{groups} groups of {} input channels need features x {} x rows x columns",
            input.channels,
            input.channels / groups
        );
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    }
    let kernel = [side(rows, "kernel_shape")?, side(cols, "kernel_shape")?];
    if pair(node, "kernel_shape", 1)?.is_some_and(|stated| stated != kernel) {
        let what = format!("kernel_shape differs from the {rows} x {cols} of the weights");
        return Err(Problem::Invalid(what));
    }
    let window = window(node, input, kernel)?;
    // Bounded by 2^30 elements, as all constants are.
    let features = features as u32;
    let weight = import.parameter(&format!("{}/weight", node.name), features, weight)?;
    let bias = node.optional(2)?;
    let bias = bias
        .map(|bias| import.parameter(&format!("{}/bias", node.name), features, bias))
        .transpose()?;
    let conv = Conv { features, groups, window, weight, scale: None, bias };
    one(import.layer(&node.name, Op::Conv(conv), &[view])?)
}

/// `ConvTranspose` whose kernel is as large as its stride, so that every output reads one input: a
/// 1x1 convolution computes all cells of an element, which are then placed side by side.
pub(crate) fn conv_transpose(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    let (input, weight) = (import.map(view)?, node.constant(1)?);
    let [channels, features, rows, cols] = weight.dims[..] else {
        let wanted = "weights are channels x features x rows x columns".to_owned();
        return Err(Problem::Dims { dims: weight.dims.clone(), wanted });
    };
    let block = side(rows, "kernel_shape")?;
    let plain = rows == cols
        && pair(node, "strides", 1)?.unwrap_or([1; 2]) == [block; 2]
        && pair(node, "dilations", 1)?.unwrap_or([1; 2]) == [1; 2]
        && node.int("group", 1)? == 1
        && [node.ints("pads")?, node.ints("output_padding")?]
            .iter()
            .all(|pads| pads.is_none_or(|pads| pads.iter().all(|pad| *pad == 0)))
        && matches!(node.text("auto_pad")?, "" | "NOTSET" | "VALID")
        && !node.has("output_shape");
    if !plain || channels != u64::from(input.channels) {
        let what = "only a square kernel as large as its stride, one group and no padding are";
        return Err(Problem::Unsupported(what.to_owned()));
    }
    // Bounded by 2^30 elements, as all constants are.
    let cells = (features * rows * cols) as u32;
    let matrix = transposed(&weight.reshaped(vec![channels, cells.into()])?)?;
    let weight = import.parameter(&format!("{}/weight", node.name), cells, &matrix)?;
    let bias = match node.optional(2)? {
        Some(bias) if bias.elements() == features => {
            let each = bias.to_floats()?.into_iter();
            let biases: Vec<f32> =
                each.flat_map(|bias| vec![bias; (rows * cols) as usize]).collect();
            Some(import.per_feature(&format!("{}/bias", node.name), &biases))
        }
        Some(bias) => return Err(bias.problem(&format!("there are {features} features"))),
        None => None,
    };
    let window = Window::point();
    let conv = Conv { features: cells, groups: 1, window, weight, scale: None, bias };
    let name = import.unique_name(&format!("{}/cells", node.name));
    let made = import.layer(&name, Op::Conv(conv), &[view])?;
    one(import.layer(&node.name, Op::DepthToSpace { block }, &[&made])?)
}

/// `Pad` with zeros around a map: a depthwise 1x1 convolution by 1 over the padded map.
pub(crate) fn pad(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    let channels = import.map(view)?.channels;
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
        let pad = |pad: i64| pick(pad, 0..=MAX_SIDE, "pads", "from 0 to 65536");
        Ok(Sweep { pad_before: pad(before)?, pad_after: pad(after)?, ..Sweep::point() })
    };
    let window = Window { rows: sweep(*top, *bottom)?, cols: sweep(*left, *right)? };
    let ones = vec![1.0; channels as usize];
    let weight = import.per_feature(&format!("{}/one", node.name), &ones);
    let conv =
        Conv { features: channels, groups: channels, window, weight, scale: None, bias: None };
    one(import.layer(&node.name, Op::Conv(conv), &[view])?)
}

/// `MaxPool` without its second output.
pub(crate) fn max_pool(import: &mut Import, node: &Node) -> Loaded {
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
    let view = node.view(0)?;
    let input = import.map(view)?;
    let Some(kernel) = pair(node, "kernel_shape", 1)? else {
        let wanted = "given: two positive integers";
        return Err(Problem::Attribute { name: "kernel_shape".to_owned(), wanted });
    };
    let window = window(node, input, kernel)?;
    for sweep in [window.rows, window.cols] {
        let reach = sweep.extent();
        if u64::from(sweep.pad_before) >= reach || u64::from(sweep.pad_after) >= reach {
            return Err(Problem::Invalid("padding as large as the window".to_owned()));
        }
    }
    one(import.layer(&node.name, Op::Pool(Pool { reduction, window }), &[view])?)
}

/// `GlobalAveragePool`: the mean of every channel.
pub(crate) fn global_average_pool(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    import.map(view)?;
    one(mean(import, node, view)?)
}

/// `GlobalMaxPool`: the maximum of every channel.
pub(crate) fn global_max_pool(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    let shape = import.map(view)?;
    let window = Window::whole(shape.rows, shape.width);
    one(import.layer(&node.name, Op::Pool(Pool { reduction: Reduction::Max, window }), &[view])?)
}

/// `ReduceMean` over rows and columns.
pub(crate) fn reduce_mean(import: &mut Import, node: &Node) -> Loaded {
    let view = node.view(0)?;
    import.map(view)?;
    let axes = node.ints_or_input("axes", 1, 18)?.unwrap_or_default();
    let axes: Result<Vec<usize>, Problem> = axes.iter().map(|index| axis(*index, 4)).collect();
    let mut axes = axes?;
    axes.sort_unstable();
    if axes != [2, 3] {
        return Err(Problem::Unsupported(format!("a mean over axes {axes:?}; only [2, 3] are")));
    }
    let result = mean(import, node, view)?;
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

/// The window of a node with this kernel over an input of this shape.
fn window(node: &Node, input: Shape, kernel: [u32; 2]) -> Result<Window, Problem> {
    let strides = pair(node, "strides", 1)?.unwrap_or([1; 2]);
    let dilations = pair(node, "dilations", 1)?.unwrap_or([1; 2]);
    let ceil = node.flag("ceil_mode")?;
    let auto_pad = node.text("auto_pad")?;
    let pads = match node.ints("pads")? {
        Some([top, left, bottom, right]) if matches!(auto_pad, "" | "NOTSET") => {
            let pad = |pad: i64| pick(pad, 0..=MAX_SIDE, "pads", PADS);
            [[pad(*top)?, pad(*bottom)?], [pad(*left)?, pad(*right)?]]
        }
        Some(pads) if pads.len() != 4 => {
            return Err(Problem::Attribute { name: "pads".to_owned(), wanted: PADS });
        }
        _ => [[0; 2]; 2],
    };
    let sweep = |axis: usize, len: u32| {
        let [pad_before, pad_after] = pads[axis];
        let (kernel, stride, dilation) = (kernel[axis], strides[axis], dilations[axis]);
        let plain = Sweep { kernel, stride, dilation, pad_before, pad_after, ceil };
        match auto_pad {
            "" | "NOTSET" | "VALID" => Ok(plain),
            "SAME_UPPER" => Ok(same(plain, len, |total| total / 2)),
            "SAME_LOWER" => Ok(same(plain, len, |total| total.div_ceil(2))),
            _ => Err(Problem::Attribute {
                name: "auto_pad".to_owned(),
                wanted: "NOTSET, SAME_UPPER, SAME_LOWER or VALID",
            }),
        }
    };
    Ok(Window { rows: sweep(0, input.rows)?, cols: sweep(1, input.width)? })
}

const PADS: &str = "four integers from 0 to 65536";

/// Pads so that there is an output for every stride that starts in the input; `before` says how
/// much of the padding comes first.
fn same(sweep: Sweep, len: u32, before: impl Fn(u32) -> u32) -> Sweep {
    let outputs = u64::from(len.div_ceil(sweep.stride));
    let reach = outputs.saturating_sub(1) * u64::from(sweep.stride) + sweep.extent();
    let total = u32::try_from(reach.saturating_sub(u64::from(len))).unwrap_or(u32::MAX);
    let pad_before = before(total);
    Sweep { pad_before, pad_after: total - pad_before, ceil: false, ..sweep }
}

/// Two positive integers, for rows and columns.
fn pair(node: &Node, name: &'static str, least: i64) -> Result<Option<[u32; 2]>, Problem> {
    const WANTED: &str = "two integers from 1 to 65536";
    match node.ints(name)? {
        None => Ok(None),
        Some([rows, cols]) => {
            let side = |value: i64| pick(value, least..=MAX_SIDE, name, WANTED);
            Ok(Some([side(*rows)?, side(*cols)?]))
        }
        Some(_) => Err(Problem::Attribute { name: name.to_owned(), wanted: WANTED }),
    }
}

fn side(value: u64, name: &str) -> Result<u32, Problem> {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    pick(value, 1..=MAX_SIDE, name, "from 1 to 65536 on each side")
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
    fn same_padding_keeps_the_size_and_puts_the_odd_cell_where_it_says() {
        let three = Sweep { kernel: 3, stride: 2, ..Sweep::point() };
        let upper = same(three, 224, |total| total / 2);
        assert_eq!((upper.pad_before, upper.pad_after, upper.outputs(224)), (0, 1, Some(112)));
        let lower = same(three, 224, |total| total.div_ceil(2));
        assert_eq!((lower.pad_before, lower.pad_after, lower.outputs(224)), (1, 0, Some(112)));
        let sparse = same(Sweep { stride: 5, ..Sweep::point() }, 13, |total| total / 2);
        assert_eq!((sparse.pad_before, sparse.pad_after, sparse.outputs(13)), (0, 0, Some(3)));
    }
}
