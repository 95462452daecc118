//! A model for the tests.

use crate::graph::{Activation, Builder, Conv, DType, Graph, Op, Parameter, Shape, Sweep, Window};

/// A convolution of 32 channels x 16 x 16 by windows of 3 x 3: 64 features.
pub(crate) fn one_convolution() -> Graph {
    let mut builder = Builder::new("model");
    let x = builder.input("x", Shape::new(32, 16, 16), vec![32, 16, 16]).unwrap();
    let row = 32 * 9;
    let parameter = Parameter { name: "w".to_owned(), features: 64, row, dtype: DType::F32 };
    let weight = builder.parameter(parameter).unwrap();
    let window = Window::square(Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() });
    let conv = Conv { features: 64, groups: 1, window, weight, scale: None, bias: None };
    let y = builder.layer("y", Op::Conv(conv), &[x], Activation::Linear).unwrap();
    builder.output("y", y, vec![64, 16, 16]).unwrap();
    builder.finish().unwrap()
}
