//! What loaders are made of: one function after another.

use crate::graph::{Binary, Curve, Function};
use crate::onnx::constant::{Constant, Element};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::{Node, axis};
use crate::onnx::nodes::loaded::Loaded;
use crate::onnx::nodes::order;

/// The functions that a node becomes, one after another.
pub(super) struct Steps<'a, 'n> {
    pub(super) import: &'a mut Import,
    pub(super) node: &'a Node<'n>,
}

impl<'a, 'n> Steps<'a, 'n> {
    pub(super) fn new(import: &'a mut Import, node: &'a Node<'n>) -> Steps<'a, 'n> {
        Steps { import, node }
    }

    /// A function whose result is of type `element`.
    pub(super) fn apply(
        &mut self,
        function: Function,
        inputs: &[&Value],
        element: Element,
    ) -> Result<Value, Problem> {
        let inputs: Vec<Value> = inputs.iter().map(|value| (*value).clone()).collect();
        let name = format!("{}/{}", self.node.name, function.name());
        self.import.general(&name, function, &inputs, element)
    }

    /// A function of one value, with a result of the same type.
    pub(super) fn map(&mut self, function: Function, value: &Value) -> Result<Value, Problem> {
        self.apply(function, &[value], value.element())
    }

    /// Element by element, with a result of the first one's type.
    pub(super) fn binary(&mut self, by: Binary, a: &Value, b: &Value) -> Result<Value, Problem> {
        self.apply(Function::Binary(by), &[a, b], a.element())
    }

    /// With a number.
    pub(super) fn scalar(&mut self, by: Binary, a: &Value, b: f32) -> Result<Value, Problem> {
        let b = self.numbers(Vec::new(), &[b]);
        self.binary(by, a, &b)
    }

    /// A function of every element.
    pub(super) fn curve(&mut self, curve: Curve, value: &Value) -> Result<Value, Problem> {
        self.import.curve(&self.node.name, curve, value, value.element())
    }

    /// A constant.
    pub(super) fn numbers(&self, dims: Vec<u64>, numbers: &[f32]) -> Value {
        Value::Constant(Constant::floats(&self.node.name, dims, numbers))
    }

    /// With the axes in another order.
    pub(super) fn permuted(&mut self, value: &Value, axes: &[usize]) -> Result<Value, Problem> {
        order::permuted(self.import, &self.node.name, value, axes)
    }

    /// An axis that an attribute names, of a value.
    pub(super) fn axis(&self, name: &str, default: i64, value: &Value) -> Result<u32, Problem> {
        Ok(axis(self.node.int(name, default)?, value.dims().len())? as u32)
    }
}

/// One value as the result of a loader.
pub(super) fn loaded(value: Result<Value, Problem>) -> Loaded {
    Ok(vec![value?])
}

/// The channels of a batch, of pictures or whatever else.
pub(super) fn channels(value: &Value) -> Result<u64, Problem> {
    value.dims().get(1).copied().ok_or_else(|| Problem::Dims {
        dims: value.dims().to_vec(),
        wanted: "batch x channels x ... are needed".to_owned(),
    })
}

/// Dimensions with 1 everywhere but along one of `rank` axes, for numbers along that axis.
pub(super) fn along(axis: usize, rank: usize, len: u64) -> Vec<u64> {
    let mut dims = vec![1; rank];
    dims[axis] = len;
    dims
}

/// The problem of an attribute.
pub(super) fn attribute(name: &str, wanted: &'static str) -> Problem {
    Problem::Attribute { name: name.to_owned(), wanted }
}
