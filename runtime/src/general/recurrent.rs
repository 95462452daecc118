//! Recurrent networks: LSTM, GRU and the plain one, with ONNX's default activations.

use super::array::Array;
use crate::graph::{Cell, Direction, Recurrent};

/// Weights of one direction.
struct Side<'a> {
    /// Gates x features.
    input: &'a [f32],
    /// Gates x hidden.
    state: &'a [f32],
    /// Summands of the input's products, by gate.
    input_bias: &'a [f32],
    /// Summands of the state's.
    state_bias: &'a [f32],
    /// Weights of the cell in the gates input, output and forget.
    peepholes: Option<&'a [f32]>,
    hidden: usize,
}

/// The result that `network` names, of these dimensions.
pub(super) fn recurrent(network: &Recurrent, inputs: &[Array<'_>], dims: &[usize]) -> Vec<f32> {
    let [x, input, state, bias, first, rest @ ..] = inputs else { return Vec::new() };
    let [steps, batch, features] = x.dims[..] else { return Vec::new() };
    let (directions, hidden) = (state.dims[0], state.dims[2]);
    let mut result = vec![0.0; dims.iter().product()];
    for direction in 0..directions {
        let part = |array: &Array<'_>| {
            let len = array.elements.len() / directions;
            direction * len..(direction + 1) * len
        };
        let (input_bias, state_bias) = bias.elements[part(bias)].split_at(bias.dims[1] / 2);
        let side = Side {
            input: &input.elements[part(input)],
            state: &state.elements[part(state)],
            input_bias,
            state_bias,
            peepholes: rest.get(1).map(|peepholes| &peepholes.elements[part(peepholes)]),
            hidden,
        };
        let backwards = network.direction == Direction::Reverse || direction == 1;
        for item in 0..batch {
            let own = (direction * batch + item) * hidden..(direction * batch + item + 1) * hidden;
            let mut h = first.elements[own.clone()].to_vec();
            let mut c = rest.first().map(|cells| cells.elements[own.clone()].to_vec());
            for number in 0..steps {
                let step = if backwards { steps - 1 - number } else { number };
                let at = (step * batch + item) * features;
                side.step(network.cell, &x.elements[at..at + features], &mut h, &mut c);
                if network.output == 0 {
                    let at = ((step * directions + direction) * batch + item) * hidden;
                    result[at..at + hidden].copy_from_slice(&h);
                }
            }
            match (network.output, c) {
                (1, _) => result[own].copy_from_slice(&h),
                (2, Some(c)) => result[own].copy_from_slice(&c),
                _ => {}
            }
        }
    }
    result
}

impl Side<'_> {
    /// The sums of unit `unit` of a gate: of the input, and of the state.
    fn sums(&self, gate: usize, unit: usize, x: &[f32], h: &[f32]) -> (f32, f32) {
        let row = gate * self.hidden + unit;
        let dot = |weights: &[f32], values: &[f32]| {
            product(&weights[row * values.len()..][..values.len()], values)
        };
        (dot(self.input, x) + self.input_bias[row], dot(self.state, h) + self.state_bias[row])
    }

    fn step(&self, cell: Cell, x: &[f32], h: &mut Vec<f32>, c: &mut Option<Vec<f32>>) {
        let both = |gate: usize, unit: usize, h: &[f32]| {
            let (of_x, of_h) = self.sums(gate, unit, x, h);
            of_x + of_h
        };
        let next: Vec<f32> = match (cell, c) {
            (Cell::Lstm, Some(c)) => {
                let peephole = |gate: usize, unit: usize, cell: f32| {
                    let weights = self.peepholes.map_or(0.0, |p| p[gate * self.hidden + unit]);
                    weights * cell
                };
                (0..self.hidden)
                    .map(|unit| {
                        let held = c[unit];
                        let input = sigmoid(both(0, unit, h) + peephole(0, unit, held));
                        let forget = sigmoid(both(2, unit, h) + peephole(2, unit, held));
                        c[unit] = forget * held + input * libm::tanhf(both(3, unit, h));
                        let output = sigmoid(both(1, unit, h) + peephole(1, unit, c[unit]));
                        output * libm::tanhf(c[unit])
                    })
                    .collect()
            }
            (Cell::Gru { linear_before_reset }, _) => {
                let reset: Vec<f32> =
                    (0..self.hidden).map(|unit| sigmoid(both(1, unit, h))).collect();
                let after: Vec<f32> = h.iter().zip(&reset).map(|(h, reset)| h * reset).collect();
                (0..self.hidden)
                    .map(|unit| {
                        let update = sigmoid(both(0, unit, h));
                        let hidden = match linear_before_reset {
                            true => {
                                let (of_x, of_h) = self.sums(2, unit, x, h);
                                of_x + reset[unit] * of_h
                            }
                            false => both(2, unit, &after),
                        };
                        (1.0 - update) * libm::tanhf(hidden) + update * h[unit]
                    })
                    .collect()
            }
            _ => (0..self.hidden).map(|unit| libm::tanhf(both(0, unit, h))).collect(),
        };
        *h = next;
    }
}

/// The sum of products, in sixteen sums side by side.
fn product(weights: &[f32], values: &[f32]) -> f32 {
    let (weights, weights_left) = weights.as_chunks::<16>();
    let (values, values_left) = values.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (weights, values) in weights.iter().zip(values) {
        let pairs = weights.iter().zip(values);
        sums.iter_mut().zip(pairs).for_each(|(sum, (weight, value))| *sum += weight * value);
    }
    let left = weights_left.iter().zip(values_left).map(|(weight, value)| weight * value);
    sums.iter().sum::<f32>() + left.sum::<f32>()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}
