//! Activations, which are folded into the layer before if nothing else reads that.

use super::loaded::{Loaded, one};
use crate::graph::Activation;
use crate::onnx::error::Problem;
use crate::onnx::import::Import;
use crate::onnx::node::Node;

/// `Relu`.
pub(crate) fn relu(import: &mut Import, node: &Node) -> Loaded {
    one(import.activate(&node.name, node.view(0)?, Activation::Relu)?)
}

/// `Clip`. The bounds were attributes before version 11.
pub(crate) fn clip(import: &mut Import, node: &Node) -> Loaded {
    let bound = |name: &str, index: usize, unbounded: f32| {
        if node.opset < 11 {
            return node.float(name, unbounded);
        }
        let Some(bound) = node.optional(index)? else { return Ok(unbounded) };
        match bound.to_floats()?[..] {
            [bound] => Ok(bound),
            _ => Err(bound.problem("a bound is a single number")),
        }
    };
    let min = bound("min", 1, f32::NEG_INFINITY)?;
    let max = bound("max", 2, f32::INFINITY)?;
    if min.is_nan() || max.is_nan() {
        return Err(Problem::Invalid("a bound is not a number".to_owned()));
    }
    let activation = match (min, max) {
        (0.0, f32::INFINITY) => Activation::Relu,
        // In ONNX everything becomes the upper bound if the bounds are in the wrong order.
        (min, max) => Activation::Clip { min: min.min(max), max },
    };
    one(import.activate(&node.name, node.view(0)?, activation)?)
}

/// `LeakyRelu`.
pub(crate) fn leaky_relu(import: &mut Import, node: &Node) -> Loaded {
    let slope = finite(node, "alpha", 0.01)?;
    one(import.activate(&node.name, node.view(0)?, Activation::Leaky { slope })?)
}

/// `Sigmoid`.
pub(crate) fn sigmoid(import: &mut Import, node: &Node) -> Loaded {
    one(import.activate(&node.name, node.view(0)?, Activation::Sigmoid)?)
}

/// `HardSigmoid`.
pub(crate) fn hard_sigmoid(import: &mut Import, node: &Node) -> Loaded {
    let (alpha, beta) = (finite(node, "alpha", 0.2)?, finite(node, "beta", 0.5)?);
    one(import.activate(&node.name, node.view(0)?, Activation::HardSigmoid { alpha, beta })?)
}

/// `HardSwish`.
pub(crate) fn hard_swish(import: &mut Import, node: &Node) -> Loaded {
    one(import.activate(&node.name, node.view(0)?, Activation::HardSwish)?)
}

fn finite(node: &Node, name: &str, default: f32) -> Result<f32, Problem> {
    let number = node.float(name, default)?;
    let wanted = "a finite number";
    let problem = || Problem::Attribute { name: name.to_owned(), wanted };
    number.is_finite().then_some(number).ok_or_else(problem)
}
