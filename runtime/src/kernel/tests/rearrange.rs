//! Layers that multiply, normalise or rearrange elements, in both layouts of maps.

use pulp::Arch;

use super::{Many, bits, cut, fill, read, region, value};
use crate::graph::{Activation, Lrn, Op, Pick, Reorder, Shape, Slice};
use crate::kernel::call::job::Job;
use crate::kernel::ops::{lrn, mul, rearrange};
use crate::kernel::{Alone, Map, Scratch, Threads};
use crate::region::Region;

/// Planar maps and maps in blocks.
const LAYOUTS: [u32; 2] = [1, 16];

/// A layer's inputs, as channels, rows, columns.
struct Case {
    op: Op,
    shapes: Vec<Shape>,
}

impl Case {
    fn new(op: Op, shapes: &[Shape]) -> Case {
        Case { op, shapes: shapes.to_vec() }
    }

    fn out(&self) -> Shape {
        self.op.output_shape(&self.shapes).unwrap()
    }

    /// All elements of input number `index`.
    fn values(&self, index: usize) -> Vec<f32> {
        (0..self.shapes[index].elements() as usize).map(|i| value(200 + index as u32, i)).collect()
    }

    /// An element of input number `index`.
    fn input(&self, index: usize, (channel, row, column): (u32, u32, u32)) -> f32 {
        let shape = self.shapes[index];
        let place = (channel * shape.rows + row) * shape.width + column;
        value(200 + index as u32, place as usize)
    }

    /// A map of what `out` reads.
    fn map(&self, index: usize, out: Region, lanes: u32) -> Map {
        let shape = self.shapes[index];
        let region = self.op.reads(index, &self.shapes, out);
        let mut map = Map::zeros(region, shape.width, lanes);
        fill(&mut map, region, &cut(shape, region, &self.values(index)));
        map
    }

    /// Computes a region and returns it channel by channel.
    fn compute(&self, region: Region, lanes: u32, threads: &dyn Threads) -> Vec<f32> {
        let inputs: Vec<Map> =
            (0..self.shapes.len()).map(|index| self.map(index, region, lanes)).collect();
        let mut output = Map::zeros(region, self.out().width, lanes);
        let job = Job {
            shape: self.shapes[0],
            input: inputs[0].place(),
            output: output.place(),
            region,
            addend: None,
            activation: Activation::Linear,
            arch: Arch::new(),
            scratch: &Scratch::new(),
            threads,
        };
        let all: Vec<&Map> = inputs.iter().collect();
        let first = &inputs[0];
        match &self.op {
            Op::Mul => mul::mul(&job, &self.shapes, &all, &mut output),
            Op::Lrn(lrn) => lrn::normalise(&job, lrn, first, &mut output),
            Op::Upsample { rows, cols } => {
                rearrange::upsample(&job, *rows, *cols, first, &mut output)
            }
            Op::Slice(slice) => rearrange::slice(&job, slice, first, &mut output),
            Op::Shuffle { groups } => rearrange::shuffle(&job, *groups, first, &mut output),
            Op::Stack => {
                let heights = self.shapes.iter().map(|shape| shape.rows);
                rearrange::stack(&job, &all, heights, &mut output);
            }
            Op::DepthToSpace { block } => {
                rearrange::depth_to_space(&job, *block, first, &mut output);
            }
            Op::Reorder(order) => rearrange::reorder(&job, order, first, &mut output),
            op => unreachable!("{op:?} has tests of its own"),
        }
        read(&output)
    }

    /// Checks in both layouts that the whole is `expected` and that every part has the same bits.
    fn check(&self, expected: impl Fn(u32, u32, u32) -> f32) {
        let out = self.out();
        let whole = self.compute(out.region(), 1, &Alone);
        for (index, found) in (0..).zip(&whole) {
            let (line, column) = (index / out.width, index % out.width);
            let expected = expected(line / out.rows, line % out.rows, column);
            assert!((found - expected).abs() <= 1e-6, "{:?}: {found}, not {expected}", self.op);
        }
        for lanes in LAYOUTS {
            let blocked = self.compute(out.region(), lanes, &Many(3));
            assert_eq!(bits(&blocked), bits(&whole), "{:?} in {lanes} lanes", self.op);
            for rows in [(0, 90), (100, 101), (99, 255)] {
                let part = region(out, (0, 255), rows);
                let found = self.compute(part, lanes, &Alone);
                let expected = cut(out, part, &whole);
                assert_eq!(bits(&found), bits(&expected), "{:?} in {part}", self.op);
            }
        }
    }
}

const SHAPE: Shape = Shape::new(37, 9, 11);

#[test]
fn products_are_elementwise_or_by_channel() {
    let case = Case::new(Op::Mul, &[SHAPE, Shape::vector(37), SHAPE]);
    case.check(|c, y, x| {
        case.input(0, (c, y, x)) * case.input(2, (c, y, x)) * case.input(1, (c, 0, 0))
    });
    let vectors = Case::new(Op::Mul, &[Shape::vector(37); 2]);
    vectors.check(|c, y, x| vectors.input(0, (c, y, x)) * vectors.input(1, (c, y, x)));
}

#[test]
fn responses_are_normalised_by_their_neighbours() {
    for (size, beta) in [(5, 0.75), (4, 0.6), (100, 0.75), (1, 1.0)] {
        let lrn = Lrn { size, alpha: 0.7, beta, bias: 2.0 };
        let case = Case::new(Op::Lrn(lrn), &[SHAPE]);
        case.check(|c, y, x| {
            let around = lrn.around(c, SHAPE.channels);
            let squares = (around.start..around.end).map(|c| case.input(0, (c, y, x)).powi(2));
            let mean = squares.sum::<f32>() / size as f32;
            case.input(0, (c, y, x)) / (2.0 + 0.7 * mean).powf(beta)
        });
    }
}

#[test]
fn rows_and_columns_are_repeated() {
    let case = Case::new(Op::Upsample { rows: 2, cols: 3 }, &[SHAPE]);
    case.check(|c, y, x| case.input(0, (c, y / 2, x / 3)));
}

#[test]
fn parts_are_cut_out() {
    for (start, step, count) in [(16, 1, 21), (0, 1, 20), (5, 1, 30), (3, 2, 17)] {
        let channels = Pick { start, step, count };
        let rows = Pick { start: 1, step: 2, count: 4 };
        let cols = Pick { start: 2, step: 3, count: 3 };
        let parts = [
            Slice { channels, ..Slice::all(SHAPE) },
            Slice { rows, cols, ..Slice::all(SHAPE) },
            Slice { channels, rows, cols },
        ];
        for slice in parts {
            let case = Case::new(Op::Slice(slice), &[SHAPE]);
            case.check(|c, y, x| {
                let at = (slice.channels.index(c), slice.rows.index(y), slice.cols.index(x));
                case.input(0, at)
            });
        }
    }
}

#[test]
fn channels_are_dealt_out() {
    let shape = Shape { channels: 40, ..SHAPE };
    for groups in [1, 4, 5, 40] {
        let case = Case::new(Op::Shuffle { groups }, &[shape]);
        case.check(|c, y, x| case.input(0, (c % groups * (40 / groups) + c / groups, y, x)));
    }
}

#[test]
fn rows_are_put_below_each_other() {
    let case = Case::new(Op::Stack, &[SHAPE, Shape { rows: 4, ..SHAPE }]);
    case.check(|c, y, x| match y.checked_sub(SHAPE.rows) {
        None => case.input(0, (c, y, x)),
        Some(y) => case.input(1, (c, y, x)),
    });
}

#[test]
fn channels_become_cells() {
    let case = Case::new(Op::DepthToSpace { block: 2 }, &[Shape { channels: 76, ..SHAPE }]);
    case.check(|c, y, x| case.input(0, (c * 4 + y % 2 * 2 + x % 2, y / 2, x / 2)));
}

#[test]
fn elements_are_put_into_another_order() {
    let element = |case: &Case, index: u32| {
        let (line, column) = (index / SHAPE.width, index % SHAPE.width);
        case.input(0, (line / SHAPE.rows, line % SHAPE.rows, column))
    };
    let flat = Reorder::reshape(Shape::new(37, 99, 1));
    let case = Case::new(Op::Reorder(flat), &[SHAPE]);
    case.check(|c, y, _| element(&case, c * 99 + y));
    let turned =
        Reorder { dims: vec![37, 9, 11], axes: vec![1, 2, 0], shape: Shape::new(99, 37, 1) };
    let case = Case::new(Op::Reorder(turned), &[SHAPE]);
    case.check(|pixel, channel, _| element(&case, channel * 99 + pixel));
}
