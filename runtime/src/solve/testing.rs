//! A small graph for unit tests.

use crate::graph::{
    Activation, Builder, Conv, DType, Graph, Op, Parameter, Pool, Reduction, Shape, Sweep, Window,
};

/// A residual block, a strided pool and a sum of two heights.
pub(super) fn residual() -> Graph {
    let three = Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() };
    let mut builder = Builder::new("block");
    let x = builder.input("x", Shape::new(8, 24, 10), vec![8, 24, 10]).unwrap();
    let conv = |name: &str, builder: &mut Builder, input, window: Window| {
        let row = 8 * window.cells() as u32;
        let parameter = Parameter { name: name.into(), features: 8, row, dtype: DType::F32 };
        let weight = builder.parameter(parameter).unwrap();
        let conv = Conv { features: 8, groups: 1, window, weight, scale: None, bias: None };
        builder.layer(name, Op::Conv(conv), &[input], Activation::Relu).unwrap()
    };
    let a = conv("a", &mut builder, x, Window::square(three));
    let b = conv("b", &mut builder, a, Window::point());
    let c = builder.layer("c", Op::Add, &[x, b], Activation::Relu).unwrap();
    let window = Window::square(Sweep { kernel: 3, stride: 2, ..Sweep::point() });
    let pool = Op::Pool(Pool { reduction: Reduction::Max, window });
    let d = builder.layer("d", pool, &[c], Activation::Linear).unwrap();
    builder.output("c", c, vec![8, 24, 10]).unwrap();
    let shape = builder.shape(d);
    builder.output("d", d, vec![shape.elements()]).unwrap();
    builder.finish().unwrap()
}
