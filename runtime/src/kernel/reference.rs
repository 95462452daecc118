//! `--kernels burn`: convolutions, dense layers and pools by burn-ndarray's own operators.
//!
//! Burn's operators know nothing about strips. So the input cells under the windows of a region are
//! copied, padded at the true border, and the operator runs on the copy without padding of its own.
//! The reference need not be fast, only right: the project's kernels are tested against it.

use burn::tensor::module::{avg_pool2d, conv2d, linear, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};

use super::call::job::Job;
use super::conv::weights::Reader;
use super::error::KernelError;
use super::memory::lanes::LANES;
use super::memory::map::Map;
use super::memory::storage::{self, Storage, Tensor};
use super::ops::pool::counted;
use crate::graph::{Conv, Pool, Reduction, Shape, Window};
use crate::region::{ChannelRange, Region};

/// Weights of some features of a layer as burn tensors.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    pub(crate) features: ChannelRange,
    weight: Weight,
    bias: Tensor<1>,
}

#[derive(Debug, Clone)]
enum Weight {
    /// Inputs x features.
    Dense(Tensor<2>),
    /// Features x input channels of a group x kernel rows x kernel columns.
    Conv(Tensor<4>),
}

impl Weights {
    /// Reads `features` of a layer whose input has this shape, a block at a time.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        conv: &Conv,
        shape: Shape,
        features: ChannelRange,
    ) -> Result<Weights, KernelError> {
        let count = features.len() as usize;
        let row = reader.row(conv);
        let dense = conv.is_dense(shape);
        let mut weights = vec![0.0; row * count];
        let mut biases = Vec::with_capacity(count);
        for start in (features.start..features.end).step_by(LANES as usize) {
            let block = ChannelRange::new(start, (start + LANES).min(features.end));
            let (rows, bias) = reader.rows(conv, block)?;
            let first = biases.len();
            biases.extend(bias);
            if !dense {
                weights[first * row..][..rows.len()].copy_from_slice(rows);
                continue;
            }
            for (feature, elements) in rows.chunks_exact(row).enumerate() {
                let column = weights.iter_mut().skip(first + feature).step_by(count);
                column.zip(elements).for_each(|(to, from)| *to = *from);
            }
        }
        let weight = match dense {
            true => Weight::Dense(storage::tensor_of([row, count], weights)),
            false => {
                let Window { rows, cols } = conv.window;
                let (rows, cols) = (rows.kernel as usize, cols.kernel as usize);
                let axes = [count, row / (rows * cols), rows, cols];
                Weight::Conv(storage::tensor_of(axes, weights))
            }
        };
        Ok(Weights { features, weight, bias: storage::tensor_of([count], biases) })
    }

    /// Bytes in memory.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        let weights = match &self.weight {
            Weight::Dense(weight) => weight.shape().num_elements(),
            Weight::Conv(weight) => weight.shape().num_elements(),
        };
        4 * (weights as u64 + u64::from(self.features.len()))
    }

    /// The indices of `features` among those that are held.
    fn places(&self, features: ChannelRange) -> std::ops::Range<usize> {
        let start = self.features.start;
        ChannelRange::new(features.start - start, features.end - start).indices()
    }
}

/// The operator that computes a convolution, for display.
pub(crate) fn conv_name(conv: &Conv, shape: Shape) -> &'static str {
    if conv.is_dense(shape) { "burn linear" } else { "burn conv2d" }
}

/// The operator that computes a pool, for display.
pub(crate) fn pool_name(pool: &Pool) -> &'static str {
    match pool.reduction {
        _ if !can_pool(pool) => "average-pool",
        Reduction::Max => "burn max_pool2d",
        Reduction::Average { .. } => "burn avg_pool2d",
    }
}

/// Computes a region of a convolution or dense layer.
pub(crate) fn conv(job: &Job<'_>, conv: &Conv, weights: &Weights, input: &Map, output: &mut Map) {
    let features = job.region.channels;
    match &weights.weight {
        Weight::Dense(weight) => {
            let elements = weight.dims()[0];
            let places = weights.places(features);
            let weight = weight.clone().slice([0..elements, places.clone()]);
            let bias = weights.bias.clone().slice([places]);
            let result = linear(input.tensor().reshape([1, elements]), weight, Some(bias));
            store(job, job.region, storage::in_order(result), output);
        }
        Weight::Conv(weight) => {
            for (features, groups) in runs(conv, features) {
                let channels = conv.input_channels(features, job.shape);
                let places = weights.places(features);
                let input = copy_windows(job, conv.window, channels, input, 0.0);
                let [_, inputs, rows, cols] = weight.dims();
                let weight = weight.clone().slice([places.clone(), 0..inputs, 0..rows, 0..cols]);
                let bias = weights.bias.clone().slice([places]);
                let (stride, dilation) = (strides(conv.window), dilations(conv.window));
                let options = ConvOptions::new(stride, [0, 0], dilation, groups);
                let result = conv2d(input, weight, Some(bias), options);
                let region = Region::new(features, job.region.rows);
                store(job, region, storage::in_order(result), output);
            }
        }
    }
}

/// Whether burn has an operator for this pool: its average pool has no dilation.
pub(crate) fn can_pool(pool: &Pool) -> bool {
    pool.reduction == Reduction::Max || dilations(pool.window) == [1, 1]
}

/// Computes a region of a pool that burn has an operator for.
pub(crate) fn pool(job: &Job<'_>, pool: &Pool, input: &Map, output: &mut Map) {
    let Window { rows: down, cols: across } = pool.window;
    let (kernel, stride) =
        ([down, across].map(|sweep| sweep.kernel as usize), strides(pool.window));
    let channels = job.region.channels;
    let result = match pool.reduction {
        Reduction::Max => {
            let input = copy_windows(job, pool.window, channels, input, f32::NEG_INFINITY);
            let options = MaxPoolOptions::new(kernel)
                .with_stride(stride)
                .with_dilation(dilations(pool.window));
            max_pool2d(input, options)
        }
        Reduction::Average { count_padding } => {
            let input = copy_windows(job, pool.window, channels, input, 0.0);
            let options = AvgPoolOptions::new(kernel).with_stride(stride);
            let means = avg_pool2d(input, options);
            // The operator divides by all cells of the window; some do not count.
            let cells = pool.window.cells() as f32;
            let columns = (0..job.output.width)
                .map(|x| counted(across, job.shape.width, x, count_padding) as f32);
            let columns: Vec<f32> = columns.collect();
            let rows = job.region.rows.start..job.region.rows.end;
            let factors: Vec<f32> = rows
                .map(|y| counted(down, job.shape.rows, y, count_padding) as f32)
                .flat_map(|row| columns.iter().map(move |column| cells / (row * column)))
                .collect();
            let [_, _, rows, cols] = means.dims();
            means * storage::tensor_of([1, 1, rows, cols], factors)
        }
    };
    store(job, job.region, storage::in_order(result), output);
}

/// Splits `features` into parts that one grouped convolution can compute, each with its number of
/// groups: everything at once if all groups are complete, else group by group.
fn runs(conv: &Conv, features: ChannelRange) -> Vec<(ChannelRange, usize)> {
    let group = conv.features / conv.groups;
    if features.start.is_multiple_of(group) && features.end.is_multiple_of(group) {
        return vec![(features, (features.len() / group) as usize)];
    }
    let groups = features.start / group..features.end.div_ceil(group);
    groups
        .map(|index| ChannelRange::new(index * group, (index + 1) * group).intersect(features))
        .map(|features| (features, 1))
        .collect()
}

/// Copies the cells under the windows of the job's region, with `padding` where there is no input.
fn copy_windows(
    job: &Job<'_>,
    window: Window,
    channels: ChannelRange,
    input: &Map,
    padding: f32,
) -> Tensor<4> {
    let Window { rows: down, cols: across } = window;
    let top =
        i64::from(job.region.rows.start) * i64::from(down.stride) - i64::from(down.pad_before);
    let height =
        (job.region.rows.len() as usize - 1) * down.stride as usize + down.extent() as usize;
    let width = (job.output.width as usize - 1) * across.stride as usize + across.extent() as usize;
    let left = across.pad_before as usize;
    let inside = (job.shape.width as usize).min(width.saturating_sub(left));
    let mut cells = vec![padding; channels.len() as usize * height * width];
    let lines = cells.chunks_exact_mut(width).enumerate();
    for (index, line) in lines {
        let (channel, y) =
            (channels.start + (index / height) as u32, top + (index % height) as i64);
        if (0..i64::from(job.shape.rows)).contains(&y) {
            let row = input.line(channel, y as u32);
            let from = &input.as_slice()[row][..inside];
            line[left..left + inside].copy_from_slice(from);
        }
    }
    storage::tensor_of([1, channels.len() as usize, height, width], cells)
}

/// Copies the result of an operator, which covers `region`, to the output map.
fn store(job: &Job<'_>, region: Region, result: Storage, output: &mut Map) {
    let mut lines = storage::elements(&result).chunks_exact(job.output.width as usize);
    for channel in region.channels.start..region.channels.end {
        for row in region.rows.start..region.rows.end {
            let to = output.line(channel, row);
            if let Some(line) = lines.next() {
                let to = &mut output.as_mut_slice()[to];
                to.copy_from_slice(line);
                job.activation.apply(job.arch, to);
            }
        }
    }
}

fn strides(window: Window) -> [usize; 2] {
    [window.rows, window.cols].map(|sweep| sweep.stride as usize)
}

fn dilations(window: Window) -> [usize; 2] {
    [window.rows, window.cols].map(|sweep| sweep.dilation as usize)
}
