//! Recurrent networks.

use std::sync::Arc;

use super::steps::{Steps, attribute};
use crate::graph::{Cell, Direction, Function, Recurrent};
use crate::onnx::constant::{Constant, Data, Element};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::Node;
use crate::onnx::nodes::loaded::Loaded;

/// `LSTM`.
pub(crate) fn lstm(import: &mut Import, node: &Node) -> Loaded {
    if node.int("input_forget", 0)? != 0 {
        return Err(Problem::Unsupported("coupled gates (input_forget 1)".to_owned()));
    }
    recurrent(import, node, Cell::Lstm, 4, &["sigmoid", "tanh", "tanh"])
}

/// `GRU`.
pub(crate) fn gru(import: &mut Import, node: &Node) -> Loaded {
    let linear_before_reset = node.int("linear_before_reset", 0)? != 0;
    recurrent(import, node, Cell::Gru { linear_before_reset }, 3, &["sigmoid", "tanh"])
}

/// `RNN`.
pub(crate) fn rnn(import: &mut Import, node: &Node) -> Loaded {
    recurrent(import, node, Cell::Rnn, 1, &["tanh"])
}

fn recurrent(
    import: &mut Import,
    node: &Node,
    cell: Cell,
    gates: u64,
    activations: &[&str],
) -> Loaded {
    let direction = match node.text("direction")? {
        "" | "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Both,
        _ => return Err(attribute("direction", "forward, reverse or bidirectional")),
    };
    let stated = node.texts("activations")?;
    let usual = stated
        .iter()
        .enumerate()
        .all(|(index, name)| name.eq_ignore_ascii_case(activations[index % activations.len()]));
    if !usual || node.has("clip") {
        let what = format!("a clip, or activations other than {}", activations.join(", "));
        return Err(Problem::Unsupported(what));
    }
    let by_batch = node.int("layout", 0)? != 0;
    let mut steps = Steps::new(import, node);
    let swapped = |steps: &mut Steps, value: &Value| {
        if by_batch { steps.permuted(value, &[1, 0, 2]) } else { Ok(value.clone()) }
    };
    let x = swapped(&mut steps, node.value(0)?)?;
    let (weights, state) = (node.value(1)?, node.value(2)?);
    let ([length, batch, _], [_, _, hidden]) = (x.dims(), state.dims()) else {
        return Err(Problem::Dims {
            dims: x.dims().to_vec(),
            wanted: "steps x batch x features are needed".to_owned(),
        });
    };
    let (length, batch, hidden) = (*length, *batch, *hidden);
    if let Some(lengths) = node.optional(4)? {
        let all = lengths.to_ints()?.iter().all(|steps| u64::try_from(*steps) == Ok(length));
        if !all {
            return Err(Problem::Unsupported("sequences of different lengths".to_owned()));
        }
    }
    let directions = u64::from(direction.count());
    let zeros = |dims: Vec<u64>| {
        let data = Data::Fill(Arc::from(0f32.to_le_bytes()));
        let name = format!("{}/zeros", node.name);
        Value::Constant(Constant { name, dims, element: Element::F32, data })
    };
    let given = |index: usize| node.inputs().get(index).and_then(Option::as_ref);
    let first = |steps: &mut Steps, index: usize| match given(index) {
        Some(value) => swapped(steps, value),
        None => Ok(zeros(vec![directions, batch, hidden])),
    };
    let or_zeros = |index: usize, dims: Vec<u64>| given(index).cloned().unwrap_or(zeros(dims));
    let bias = or_zeros(3, vec![directions, 2 * gates * hidden]);
    let mut inputs = vec![x, weights.clone(), state.clone(), bias, first(&mut steps, 5)?];
    if cell == Cell::Lstm {
        inputs.push(first(&mut steps, 6)?);
        inputs.push(or_zeros(7, vec![directions, 3 * hidden]));
    }
    let inputs: Vec<&Value> = inputs.iter().collect();
    let mut results = Vec::new();
    for output in 0..node.outputs().min(if cell == Cell::Lstm { 3 } else { 2 }) {
        let network = Recurrent { cell, direction, output: output as u8 };
        let result = steps.apply(Function::Recurrent(network), &inputs, Element::F32)?;
        results.push(match (by_batch, output) {
            (false, _) => result,
            (true, 0) => steps.permuted(&result, &[2, 0, 1, 3])?,
            (true, _) => steps.permuted(&result, &[1, 0, 2])?,
        });
    }
    Ok(results)
}
