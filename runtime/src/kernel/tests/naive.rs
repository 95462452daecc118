//! The simplest possible loops, in double precision.

use super::{Bench, value};
use crate::graph::{Activation, Conv, LayerId, Op, Pool, Reduction, Shape, Sweep};

/// A result, and the sum of the absolute values of its terms, to which rounding is relative.
#[derive(Debug, Clone, Copy)]
pub(super) struct Result {
    pub(super) value: f64,
    pub(super) weight: f64,
}

impl Result {
    /// Whether `other` is the same except for rounding.
    pub(super) fn agrees(self, other: f32, tolerance: f64) -> bool {
        let difference = (self.value - f64::from(other)).abs();
        let both = |what: fn(f64) -> bool| what(self.value) && what(f64::from(other));
        self.value == f64::from(other)
            || both(f64::is_nan)
            || difference <= tolerance * self.weight.max(1e-3)
    }
}

/// The whole output of the bench's layer.
pub(super) fn whole(bench: &Bench) -> Vec<Result> {
    let layer = bench.graph.layer(LayerId(0));
    let shape = bench.graph.input_shapes(LayerId(0))[0];
    let out = bench.shape();
    let mut results = Vec::new();
    for channel in 0..out.channels {
        for row in 0..out.rows {
            for column in 0..out.width {
                let at = (channel, row, column);
                let result = match &layer.op {
                    Op::Conv(conv) => convolve(bench, conv, shape, at),
                    Op::Pool(pool) => reduce(&bench.inputs[0], pool, shape, at),
                    op => unreachable!("{op:?} has tests of its own"),
                };
                results.push(activate(result, layer.activation));
            }
        }
    }
    results
}

fn activate(result: Result, activation: Activation) -> Result {
    let x = result.value;
    let value = match activation {
        Activation::Linear => x,
        Activation::Relu => x.max(0.0),
        Activation::Clip { min, max } => x.clamp(f64::from(min), f64::from(max)),
        Activation::Leaky { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::HardSigmoid { alpha, beta } => {
            (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
        }
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::Curve(curve) => f64::from(curve.of(x as f32)),
    };
    // Intermediate sums are rounded, too.
    let summand = match activation {
        Activation::Sigmoid | Activation::HardSigmoid { .. } => 1.0,
        _ => 0.0,
    };
    Result { value, weight: result.weight + summand }
}

/// Where the cells of a window lie along one axis: inside the map or not.
fn cells(sweep: Sweep, len: u32, output: u32) -> impl Iterator<Item = (u32, i64, bool)> {
    (0..sweep.kernel).map(move |cell| {
        let place =
            i64::from(output * sweep.stride + cell * sweep.dilation) - i64::from(sweep.pad_before);
        (cell, place, (0..i64::from(len)).contains(&place))
    })
}

fn at(shape: Shape, channel: u32, row: i64, column: i64) -> usize {
    (i64::from(channel * shape.rows) + row) as usize * shape.width as usize + column as usize
}

fn convolve(bench: &Bench, conv: &Conv, shape: Shape, out: (u32, u32, u32)) -> Result {
    let (feature, row, column) = out;
    let (outputs, inputs) = (conv.features / conv.groups, shape.channels / conv.groups);
    let (down, across) = (conv.window.rows, conv.window.cols);
    let parameter = |id: Option<crate::graph::ParameterId>| {
        id.map(|id| f64::from(value(id.0, feature as usize)))
    };
    let (mut sum, mut weight) = (0.0, 0.0);
    for c in 0..inputs {
        for (ky, y, inside_y) in cells(down, shape.rows, row) {
            for (kx, x, inside_x) in cells(across, shape.width, column) {
                if inside_y && inside_x {
                    let element = (c * down.kernel + ky) * across.kernel + kx;
                    let index = feature * inputs * down.kernel * across.kernel + element;
                    let channel = feature / outputs * inputs + c;
                    let input = bench.inputs[0][at(shape, channel, y, x)];
                    let product =
                        f64::from(value(conv.weight.0, index as usize)) * f64::from(input);
                    sum += product;
                    weight += product.abs();
                }
            }
        }
    }
    let (scale, bias) = (parameter(conv.scale).unwrap_or(1.0), parameter(conv.bias).unwrap_or(0.0));
    Result { value: sum * scale + bias, weight: weight * scale.abs() + bias.abs() }
}

fn reduce(input: &[f32], pool: &Pool, shape: Shape, out: (u32, u32, u32)) -> Result {
    let (channel, row, column) = out;
    let (down, across) = (pool.window.rows, pool.window.cols);
    let (mut largest, mut sum, mut weight) = (f64::NEG_INFINITY, 0.0, 0.0);
    let (mut real, mut padded) = (0u32, 0u32);
    for (_, y, inside_y) in cells(down, shape.rows, row) {
        for (_, x, inside_x) in cells(across, shape.width, column) {
            if inside_y && inside_x {
                let value = f64::from(input[at(shape, channel, y, x)]);
                largest = largest.max(value);
                sum += value;
                weight += value.abs();
                real += 1;
            }
            let on_padding = y < i64::from(shape.rows + down.pad_after)
                && x < i64::from(shape.width + across.pad_after);
            padded += u32::from(on_padding);
        }
    }
    let count = |count: u32| f64::from(count.max(1));
    match pool.reduction {
        Reduction::Max => Result { value: largest, weight: largest.abs() },
        Reduction::Average { count_padding: true } => {
            Result { value: sum / count(padded), weight: weight / count(padded) }
        }
        Reduction::Average { count_padding: false } => {
            Result { value: sum / count(real), weight: weight / count(real) }
        }
    }
}
