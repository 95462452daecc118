//! How much work a layer does on a region.

use serde::{Deserialize, Serialize};

use crate::graph::{DType, Graph, LayerId, Op, Shape, Tile, TiledWork};
use crate::region::Region;
use crate::units::Flops;

/// A class of layers whose time on a device follows one linear fit. The numbers are part of the
/// wire format and of cached profiles: new kinds get new numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum LayerKind {
    /// A convolution with a window of one cell.
    PointConv = 0,
    /// A convolution with a window of up to 3x3 cells.
    Conv = 1,
    /// A convolution with a larger window.
    WideConv = 2,
    /// A convolution whose output channels read one input channel each.
    Depthwise = 3,
    /// Pooling, and sums over rows or width.
    Pool = 4,
    /// Sums and products of maps, concatenation, activations, rearranged elements.
    Elementwise = 5,
    /// A dense layer: bound by reading its weights.
    Dense = 6,
}

impl LayerKind {
    /// How many kinds there are.
    pub(crate) const COUNT: usize = 7;

    /// All kinds, by number.
    pub const ALL: [LayerKind; LayerKind::COUNT] = [
        LayerKind::PointConv,
        LayerKind::Conv,
        LayerKind::WideConv,
        LayerKind::Depthwise,
        LayerKind::Pool,
        LayerKind::Elementwise,
        LayerKind::Dense,
    ];

    /// The kind with this number, if there is one.
    pub fn from_number(number: u8) -> Option<LayerKind> {
        LayerKind::ALL.get(usize::from(number)).copied()
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// For indexing tables by kind.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The kind of a graph's layer.
    pub fn of(graph: &Graph, layer: LayerId) -> LayerKind {
        match &graph.layer(layer).op {
            Op::Conv(conv) => {
                let input = graph.input_shapes(layer)[0];
                match conv.window.cells() {
                    _ if conv.is_dense(input) => LayerKind::Dense,
                    _ if conv.is_depthwise(input) => LayerKind::Depthwise,
                    1 => LayerKind::PointConv,
                    2..=9 => LayerKind::Conv,
                    _ => LayerKind::WideConv,
                }
            }
            Op::Pool(_) | Op::SumWidth | Op::SumRows { .. } => LayerKind::Pool,
            Op::Add
            | Op::Mul
            | Op::Concat
            | Op::Stack
            | Op::Identity
            | Op::Softmax
            | Op::Lrn(_)
            | Op::Upsample { .. }
            | Op::Slice(_)
            | Op::Shuffle { .. }
            | Op::DepthToSpace { .. }
            | Op::Reorder(_)
            | Op::Constant(_)
            | Op::General(_) => LayerKind::Elementwise,
        }
    }
}

/// What a layer does on a region.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The kind of layer, which selects the fit.
    pub kind: LayerKind,
    /// Floating-point operations; a multiply-add is two, a comparison one.
    pub flops: f64,
    /// Bytes of activations read and written, as float32.
    pub activation_bytes: f64,
    /// Bytes of weights read, as float32 unless [said otherwise](Work::with_weights).
    pub weight_bytes: f64,
}

impl Work {
    /// What the fast kernels do to make `region` of `layer`'s output, as part of a share of `height`
    /// rows: a 3x3 convolution in the tiles that suit that height, everything else as
    /// [`Work::of`] counts it. Operations are those executed, transforms included, and weights are
    /// as large as packed, as `weights`.
    pub fn tiled(
        graph: &Graph,
        layer: LayerId,
        region: Region,
        height: u32,
        weights: DType,
    ) -> Work {
        let plain = Work::of(graph, layer, region).with_weights(weights);
        let Op::Conv(conv) = &graph.layer(layer).op else { return plain };
        let shape = graph.input_shapes(layer)[0];
        let Some(tile) = Tile::best(conv, shape, height, weights) else { return plain };
        let width = graph.output_shape(layer).width;
        let (rows, features) = (region.rows.len(), region.channels.len());
        plain.of_tiles(tile.work(rows, width, shape.channels, features, weights))
    }

    /// The same outputs, computed in tiles.
    pub(super) fn of_tiles(self, work: TiledWork) -> Work {
        Work { flops: 2.0 * work.products, weight_bytes: work.weight_bytes, ..self }
    }

    /// The same with weights of another type than float32.
    #[must_use]
    pub fn with_weights(self, weights: DType) -> Work {
        let part = weights.size() as f64 / DType::F32.size() as f64;
        Work { weight_bytes: self.weight_bytes * part, ..self }
    }

    /// No work of this kind.
    pub const fn nothing(kind: LayerKind) -> Work {
        Work { kind, flops: 0.0, activation_bytes: 0.0, weight_bytes: 0.0 }
    }

    /// The work of `layer` on `region` of its output.
    pub fn of(graph: &Graph, layer: LayerId, region: Region) -> Work {
        let kind = LayerKind::of(graph, layer);
        if region.is_empty() {
            return Work::nothing(kind);
        }
        let node = graph.layer(layer);
        let outputs = region.lines() as f64 * f64::from(graph.output_shape(layer).width);
        let flops = outputs * flops_per_output(graph, layer);
        let features = f64::from(region.channels.len());
        let row: f64 = node.op.parameters().map(|id| f64::from(graph.parameter(id).row)).sum();
        Work {
            kind,
            flops,
            activation_bytes: match node.op {
                Op::General(_) => touched(graph, layer, region) + flops * BYTES_PER_FLOP,
                _ => touched(graph, layer, region),
            },
            weight_bytes: 4.0 * features * row,
        }
    }
}

/// Functions of whole tensors are not fast: an operation takes as long as moving so many bytes.
const BYTES_PER_FLOP: f64 = 2.0;

/// Bytes of a region of a layer's output and of what it reads.
pub(super) fn touched(graph: &Graph, layer: LayerId, region: Region) -> f64 {
    let (op, shapes) = (&graph.layer(layer).op, graph.input_shapes(layer));
    let elements = |region: Region, width: u32| region.lines() as f64 * f64::from(width);
    let read =
        |(index, shape): (usize, &Shape)| elements(op.reads(index, shapes, region), shape.width);
    let read: f64 = shapes.iter().enumerate().map(read).sum();
    4.0 * (elements(region, graph.output_shape(layer).width) + read)
}

/// Operations per element of a layer's output.
pub(crate) fn flops_per_output(graph: &Graph, layer: LayerId) -> f64 {
    let shapes = graph.input_shapes(layer);
    match &graph.layer(layer).op {
        Op::Conv(conv) => 2.0 * f64::from(graph.parameter(conv.weight).row),
        Op::Pool(pool) => pool.window.cells() as f64,
        Op::SumWidth => f64::from(shapes[0].width),
        Op::SumRows { .. } => f64::from(shapes[0].rows),
        Op::Add | Op::Mul => shapes.len() as f64,
        Op::Softmax => 4.0,
        // A square and a sum for each channel around, a power and a quotient.
        Op::Lrn(lrn) => 2.0 * f64::from(lrn.size) + 4.0,
        Op::Concat
        | Op::Stack
        | Op::Identity
        | Op::Upsample { .. }
        | Op::Slice(_)
        | Op::Shuffle { .. }
        | Op::DepthToSpace { .. }
        | Op::Reorder(_)
        | Op::Constant(_) => 1.0,
        Op::General(general) => general.flops_per_output(),
    }
}

/// Operations of one inference on one device.
pub fn graph_flops(graph: &Graph) -> Flops {
    let whole = |layer| Work::of(graph, layer, graph.output_shape(layer).region()).flops;
    Flops(graph.layer_ids().map(whole).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Activation, Builder, Conv, Parameter, Shape, Sweep, Window};
    use crate::region::{ChannelRange, RowRange};

    fn one_conv(groups: u32, window: Window) -> Graph {
        let mut builder = Builder::new("one");
        let input = builder.input("x", Shape::new(8, 14, 14), vec![8, 14, 14]).unwrap();
        let row = 8 / groups * window.cells() as u32;
        let parameter = Parameter { name: "w".into(), features: 32, row, dtype: DType::F16 };
        let weight = builder.parameter(parameter).unwrap();
        let conv = Conv { features: 32, groups, window, weight, scale: None, bias: None };
        let y = builder.layer("conv", Op::Conv(conv), &[input], Activation::Relu).unwrap();
        let shape = builder.shape(y);
        builder.output("y", y, vec![shape.elements()]).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn numbers_are_stable() {
        let numbers: Vec<u8> = LayerKind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(LayerKind::from_number(3), Some(LayerKind::Depthwise));
        assert_eq!(LayerKind::from_number(7), None);
    }

    #[test]
    fn a_strip_reads_its_halo_and_all_weights() {
        let three = Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() };
        let graph = one_conv(1, Window::square(three));
        let strip = Region::new(ChannelRange::all(32), RowRange::new(4, 6));
        let work = Work::of(&graph, LayerId(0), strip);
        assert_eq!(work.kind, LayerKind::Conv);
        assert_eq!(work.flops, 2.0 * (32 * 2 * 14 * 8 * 9) as f64);
        assert_eq!(work.activation_bytes, 4.0 * (32 * 2 * 14 + 8 * 4 * 14) as f64);
        assert_eq!(work.weight_bytes, 4.0 * (32 * 8 * 9) as f64);
        let halves = work.with_weights(DType::F16);
        assert_eq!(halves, Work { weight_bytes: 2.0 * (32 * 8 * 9) as f64, ..work });
    }

    #[test]
    fn kinds_follow_the_window() {
        let kind = |groups, window| LayerKind::of(&one_conv(groups, window), LayerId(0));
        assert_eq!(kind(1, Window::point()), LayerKind::PointConv);
        assert_eq!(kind(1, Window::square(Sweep::whole(5))), LayerKind::WideConv);
        assert_eq!(kind(8, Window::square(Sweep::whole(3))), LayerKind::Depthwise);
        assert_eq!(kind(1, Window::whole(14, 14)), LayerKind::Dense);
    }
}
