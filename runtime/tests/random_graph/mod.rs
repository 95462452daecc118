//! Random small models and random plans for them, as proptest strategies.
//!
//! A case is a list of moves, each of which adapts to the shape that it finds, so that every list is
//! a valid graph and a shrunk list is a smaller graph.

use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, Graph, Lrn, Op, Parameter, Pick, Pool, Reduction, Reorder,
    Shape, Slice, Sweep, TensorId, Window,
};
use proptest::prelude::*;

pub mod plan;

/// A move is one layer; a residual block is three, a mean two.
const MAX_MOVES: usize = 8;

/// Products of products would grow without bound.
const BOUNDED: Activation = Activation::Clip { min: -8.0, max: 8.0 };

/// Small models: chains, residual sums, concatenations, strides, dilation, groups, depthwise
/// layers, pools with ceil mode, asymmetric pads, maps of width 1, sums over rows, dense heads,
/// products, rearranged channels and rows, several inputs and outputs. Heights are 1 to 24, channels of an input 1 to 24.
pub fn random_graph() -> impl Strategy<Value = Graph> {
    let width = prop_oneof![1 => Just(1u32), 4 => 2u32..=10];
    let input = (1u32..=24, 1u32..=24, width);
    let moves = prop::collection::vec(layer_move(), 1..=MAX_MOVES);
    let head = prop_oneof![3 => Just(Head::None), 2 => Just(Head::Mean), 2 => Just(Head::Dense)];
    (input, any::<bool>(), moves, head, 1u32..=40, prop::option::of(any::<prop::sample::Index>()))
        .prop_map(|((channels, rows, width), second, moves, head, classes, extra)| {
            let mut sketch = Sketch::new(Shape::new(channels, rows, width), second);
            for step in moves {
                sketch.apply(step);
            }
            sketch.head(head, classes);
            sketch.finish(extra)
        })
}

#[derive(Debug, Clone, Copy)]
enum Head {
    None,
    Mean,
    Dense,
}

#[derive(Debug, Clone)]
enum Move {
    Conv { features: u32, groups: u32, rows: Sweep, cols: Sweep, factors: (bool, bool) },
    Depthwise { rows: Sweep, cols: Sweep },
    Pool { reduction: Reduction, rows: Sweep, cols: Sweep },
    Residual { features: u32 },
    Add(prop::sample::Index),
    Concat(prop::sample::Index),
    Activation(Activation),
    Mean,
    Mul(prop::sample::Index),
    Excite,
    Lrn { size: u32 },
    Upsample { rows: u32, cols: u32 },
    Slice { channels: (u8, u8), rows: (u8, u8, u32), cols: (u8, u8, u32) },
    Shuffle(prop::sample::Index),
    Stack(prop::sample::Index),
    DepthToSpace,
    Turn,
}

fn layer_move() -> impl Strategy<Value = Move> {
    let any_earlier = any::<prop::sample::Index>;
    let reduction = prop_oneof![
        Just(Reduction::Max),
        any::<bool>().prop_map(|count_padding| Reduction::Average { count_padding }),
    ];
    let conv = (1u32..=24, 1u32..=3, sweep(), sweep(), any::<(bool, bool)>()).prop_map(
        |(features, groups, rows, cols, factors)| Move::Conv {
            features,
            groups,
            rows,
            cols,
            factors,
        },
    );
    prop_oneof![
        6 => conv,
        2 => (sweep(), sweep()).prop_map(|(rows, cols)| Move::Depthwise { rows, cols }),
        3 => (reduction, pool_sweep(), pool_sweep())
            .prop_map(|(reduction, rows, cols)| Move::Pool { reduction, rows, cols }),
        2 => (1u32..=8).prop_map(|features| Move::Residual { features }),
        2 => any_earlier().prop_map(Move::Add),
        2 => any_earlier().prop_map(Move::Concat),
        1 => activation().prop_map(Move::Activation),
        1 => Just(Move::Mean),
        1 => any_earlier().prop_map(Move::Mul),
        1 => Just(Move::Excite),
        1 => (1u32..=6).prop_map(|size| Move::Lrn { size }),
        1 => (1u32..=3, 1u32..=3).prop_map(|(rows, cols)| Move::Upsample { rows, cols }),
        2 => (any::<(u8, u8)>(), part(), part())
            .prop_map(|(channels, rows, cols)| Move::Slice { channels, rows, cols }),
        1 => any_earlier().prop_map(Move::Shuffle),
        1 => any_earlier().prop_map(Move::Stack),
        1 => Just(Move::DepthToSpace),
        1 => Just(Move::Turn),
    ]
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Clip { min: -0.5, max: 0.5 }),
        Just(Activation::Leaky { slope: 0.1 }),
        Just(Activation::Sigmoid),
        Just(Activation::Silu),
        Just(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        Just(Activation::HardSwish),
    ]
}

/// From where to where along an axis, in parts of 256, and the step.
fn part() -> impl Strategy<Value = (u8, u8, u32)> {
    let ends = prop_oneof![1 => Just((0, 255)), 2 => any::<(u8, u8)>()];
    (ends, 1u32..=3).prop_map(|((a, b), step)| (a, b, step))
}

/// Any window of a convolution along one axis.
fn sweep() -> impl Strategy<Value = Sweep> {
    let same = prop_oneof![Just(1u32), Just(3), Just(5)].prop_map(same_size);
    let odd = (1u32..=4, 1u32..=3, 1u32..=2, 0u32..=2, 0u32..=2).prop_map(
        |(kernel, stride, dilation, pad_before, pad_after)| Sweep {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
            ceil: false,
        },
    );
    prop_oneof![2 => same, 3 => odd]
}

/// The window that keeps a map's size.
fn same_size(kernel: u32) -> Sweep {
    Sweep { kernel, pad_before: kernel / 2, pad_after: kernel / 2, ..Sweep::point() }
}

/// A window that never looks at padding alone: a maximum of nothing has no value.
fn pool_sweep() -> impl Strategy<Value = Sweep> {
    (1u32..=3, 1u32..=3, 0u32..=2, 0u32..=2, any::<bool>()).prop_map(
        |(kernel, stride, before, after, ceil)| Sweep {
            kernel,
            stride,
            dilation: 1,
            pad_before: before.min(kernel - 1),
            pad_after: after.min(kernel - 1),
            ceil,
        },
    )
}

/// A graph in the making; every move fits because it is adapted to the shapes there are.
struct Sketch {
    builder: Builder,
    tensors: Vec<TensorId>,
    layers: usize,
}

impl Sketch {
    fn new(shape: Shape, second: bool) -> Sketch {
        let mut builder = Builder::new("random");
        let tensors = (0..1 + u32::from(second))
            .map(|index| {
                let dims = vec![1, shape.channels.into(), shape.rows.into(), shape.width.into()];
                builder.input(&format!("input{index}"), shape, dims).expect("a valid input")
            })
            .collect();
        Sketch { builder, tensors, layers: 0 }
    }

    fn current(&self) -> (TensorId, Shape) {
        let tensor = *self.tensors.last().expect("there is an input");
        (tensor, self.builder.shape(tensor))
    }

    fn layer(&mut self, op: Op, inputs: &[TensorId], activation: Activation) {
        let name = format!("{}{}", op.name(), self.layers);
        let tensor = self.builder.layer(&name, op, inputs, activation).expect("a valid layer");
        self.layers += 1;
        self.tensors.push(tensor);
    }

    fn conv(&mut self, features: u32, groups: u32, window: Window, factors: (bool, bool)) {
        let (input, shape) = self.current();
        let row = (u64::from(shape.channels / groups) * window.cells()) as u32;
        let number = self.layers;
        let mut parameter = |role: &str, row: u32| {
            let name = format!("conv{number}.{role}");
            let parameter = Parameter { name, features, row, dtype: DType::F32 };
            self.builder.parameter(parameter).expect("a valid parameter")
        };
        let weight = parameter("weight", row);
        let scale = factors.0.then(|| parameter("scale", 1));
        let bias = factors.1.then(|| parameter("bias", 1));
        let op = Op::Conv(Conv { features, groups, window, weight, scale, bias });
        self.layer(op, &[input], Activation::Relu);
    }

    fn apply(&mut self, step: Move) {
        let (input, shape) = self.current();
        match step {
            Move::Conv { features, groups, rows, cols, factors } => {
                let window = fitted(rows, cols, shape);
                let groups = if shape.channels.is_multiple_of(groups) { groups } else { 1 };
                self.conv(features.div_ceil(groups) * groups, groups, window, factors);
            }
            Move::Depthwise { rows, cols } => {
                let window = fitted(rows, cols, shape);
                self.conv(shape.channels, shape.channels, window, (true, true));
            }
            Move::Pool { reduction, rows, cols } => {
                let pool = Pool { reduction, window: fitted(rows, cols, shape) };
                self.layer(Op::Pool(pool), &[input], Activation::Linear);
            }
            Move::Residual { features } => {
                let window = Window::square(same_size(3));
                self.conv(features, 1, window, (false, true));
                self.conv(shape.channels, 1, window, (true, false));
                let (body, _) = self.current();
                self.layer(Op::Add, &[input, body], Activation::Relu);
            }
            Move::Add(index) => {
                let fits = |other: Shape| other == shape;
                let other = self.earlier(index, fits);
                self.layer(Op::Add, &[other, input], Activation::Relu);
            }
            Move::Concat(index) => {
                let fits = |other: Shape| {
                    (other.rows, other.width) == (shape.rows, shape.width)
                        && other.channels + shape.channels <= 64
                };
                let other = self.earlier(index, fits);
                self.layer(Op::Concat, &[other, input], Activation::Linear);
            }
            Move::Activation(activation) => self.layer(Op::Identity, &[input], activation),
            Move::Mean => self.mean(),
            Move::Mul(index) => {
                let other = self.earlier(index, |other| other == shape);
                self.layer(Op::Mul, &[other, input], BOUNDED);
            }
            Move::Excite => {
                self.mean();
                self.conv(shape.channels, 1, Window::point(), (false, true));
                let (factors, _) = self.current();
                self.layer(Op::Mul, &[input, factors], BOUNDED);
            }
            Move::Lrn { size } => {
                let lrn = Lrn { size, alpha: 0.5, beta: 0.75, bias: 1.0 };
                self.layer(Op::Lrn(lrn), &[input], Activation::Linear);
            }
            Move::Upsample { rows, cols } => {
                let (rows, cols) = if shape.rows > 24 { (1, cols) } else { (rows, cols) };
                let cols = if shape.width > 24 { 1 } else { cols };
                self.layer(Op::Upsample { rows, cols }, &[input], Activation::Linear);
            }
            Move::Slice { channels: (a, b), rows, cols } => {
                let channels = pick((a, b, 1), shape.channels);
                let (rows, cols) = (pick(rows, shape.rows), pick(cols, shape.width));
                let op = Op::Slice(Slice { channels, rows, cols });
                self.layer(op, &[input], Activation::Linear);
            }
            Move::Shuffle(index) => {
                let divisors = (1..=shape.channels).filter(|n| shape.channels.is_multiple_of(*n));
                let groups = *index.get(&divisors.collect::<Vec<_>>());
                self.layer(Op::Shuffle { groups }, &[input], Activation::Linear);
            }
            Move::Stack(index) => {
                let fits = |other: Shape| {
                    (other.channels, other.width) == (shape.channels, shape.width)
                        && other.rows + shape.rows <= 48
                };
                let other = self.earlier(index, fits);
                self.layer(Op::Stack, &[other, input], Activation::Linear);
            }
            Move::DepthToSpace => {
                let block = if shape.channels.is_multiple_of(4) { 2 } else { 1 };
                self.layer(Op::DepthToSpace { block }, &[input], Activation::Linear);
            }
            Move::Turn => {
                let order = Reorder {
                    dims: vec![shape.channels, shape.rows, shape.width],
                    axes: vec![1, 0, 2],
                    shape: Shape::new(shape.rows, shape.channels, shape.width),
                };
                self.layer(Op::Reorder(order), &[input], Activation::Linear);
            }
        }
    }

    /// An earlier tensor that fits; the current one always does.
    fn earlier(&self, index: prop::sample::Index, fits: impl Fn(Shape) -> bool) -> TensorId {
        let (current, _) = self.current();
        let fitting: Vec<TensorId> = self
            .tensors
            .iter()
            .copied()
            .filter(|tensor| fits(self.builder.shape(*tensor)) || *tensor == current)
            .collect();
        *index.get(&fitting)
    }

    fn mean(&mut self) {
        let (input, shape) = self.current();
        self.layer(Op::SumWidth, &[input], Activation::Linear);
        let (rows, _) = self.current();
        let scale = 1.0 / (shape.rows * shape.width) as f32;
        self.layer(Op::SumRows { scale }, &[rows], Activation::Linear);
    }

    fn head(&mut self, head: Head, classes: u32) {
        match head {
            Head::None => return,
            Head::Mean => self.mean(),
            Head::Dense => {}
        }
        let (_, shape) = self.current();
        let window = Window::whole(shape.rows, shape.width);
        self.conv(classes, 1, window, (false, true));
        let (logits, _) = self.current();
        self.layer(Op::Softmax, &[logits], Activation::Linear);
    }

    fn finish(mut self, extra: Option<prop::sample::Index>) -> Graph {
        let (last, _) = self.current();
        let inputs = self.tensors.len() - self.layers;
        let mut outputs = vec![last];
        if let Some(index) = extra {
            outputs.push(*index.get(&self.tensors[inputs..]));
        }
        for (number, tensor) in outputs.into_iter().enumerate() {
            let shape = self.builder.shape(tensor);
            let dims = vec![1, shape.channels.into(), shape.rows.into(), shape.width.into()];
            self.builder.output(&format!("output{number}"), tensor, dims).expect("a valid output");
        }
        self.builder.finish().expect("a valid graph")
    }
}

/// Something between `from` and `to`, parts of 256 of `len` indices, at every `step`th.
fn pick((from, to, step): (u8, u8, u32), len: u32) -> Pick {
    let start = u32::from(from.min(to)) * len / 256;
    let end = (u32::from(from.max(to)) * len).div_ceil(256).max(start + 1);
    Pick { start, step, count: (end - start).div_ceil(step) }
}

/// The window, or along an axis that is too short for it the window of one cell.
fn fitted(rows: Sweep, cols: Sweep, shape: Shape) -> Window {
    let fit = |sweep: Sweep, len: u32| match sweep.outputs(len) {
        Some(outputs) if outputs > 0 => sweep,
        _ => Sweep { stride: sweep.stride, ..Sweep::point() },
    };
    Window { rows: fit(rows, shape.rows), cols: fit(cols, shape.width) }
}
