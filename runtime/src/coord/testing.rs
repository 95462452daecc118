//! Models for the tests.

use crate::graph::{
    Activation, Builder, Conv, DType, Graph, Op, Parameter, Pool, Reduction, Shape, Sweep, Window,
};

/// A convolution of 32 channels x 16 x 16 by windows of 3 x 3: 64 features.
pub(crate) fn one_convolution() -> Graph {
    convolution(false)
}

/// The same, and the maxima of 2 x 2 windows of its output.
pub(crate) fn one_convolution_and_a_pool() -> Graph {
    convolution(true)
}

fn convolution(pooled: bool) -> Graph {
    let mut builder = Builder::new("model");
    let x = builder.input("x", Shape::new(32, 16, 16), vec![32, 16, 16]).unwrap();
    let row = 32 * 9;
    let parameter = Parameter { name: "w".to_owned(), features: 64, row, dtype: DType::F32 };
    let weight = builder.parameter(parameter).unwrap();
    let window = Window::square(Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() });
    let conv = Conv { features: 64, groups: 1, window, weight, scale: None, bias: None };
    let y = builder.layer("y", Op::Conv(conv), &[x], Activation::Linear).unwrap();
    let (output, size) = match pooled {
        true => {
            let window = Window::square(Sweep { kernel: 2, stride: 2, ..Sweep::point() });
            let pool = Op::Pool(Pool { window, reduction: Reduction::Max });
            (builder.layer("pool", pool, &[y], Activation::Linear).unwrap(), 8)
        }
        false => (y, 16),
    };
    builder.output("output", output, vec![64, size, size]).unwrap();
    builder.finish().unwrap()
}
