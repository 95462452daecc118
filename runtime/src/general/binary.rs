//! Functions of elements of two or three tensors, which are repeated along dimensions of 1.

use super::array::{Array, each_index, repeated};
use crate::graph::Binary;

/// Element by element, with a result of these dimensions.
pub(super) fn binary(binary: Binary, a: &Array<'_>, b: &Array<'_>, dims: &[usize]) -> Vec<f32> {
    // A macro, so that each function becomes part of its own loop.
    macro_rules! by {
        ($value:expr) => {
            pairs(a, b, dims, $value)
        };
    }
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match binary {
        Binary::Add => by!(|a, b| a + b),
        Binary::Sub => by!(|a, b| a - b),
        Binary::Mul => by!(|a, b| a * b),
        Binary::Div => by!(|a, b| a / b),
        Binary::Quotient => by!(|a, b| if b == 0.0 { 0.0 } else { (a / b).trunc() }),
        Binary::Mod => by!(|a, b| {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        }),
        Binary::Rem => by!(|a, b| a % b),
        Binary::Pow => by!(power),
        Binary::Min => by!(|a, b| if a < b || a.is_nan() { a } else { b }),
        Binary::Max => by!(|a, b| if a > b || a.is_nan() { a } else { b }),
        Binary::PRelu => by!(|x, slope| if x < 0.0 { x * slope } else { x }),
        Binary::Equal => by!(|a, b| truth(a == b)),
        Binary::Less => by!(|a, b| truth(a < b)),
        Binary::LessOrEqual => by!(|a, b| truth(a <= b)),
        Binary::And => by!(|a, b| truth(a != 0.0 && b != 0.0)),
        Binary::Or => by!(|a, b| truth(a != 0.0 || b != 0.0)),
        Binary::Xor => by!(|a, b| truth((a != 0.0) != (b != 0.0))),
    }
}

/// Squares, which normalisations are full of, exactly.
fn power(a: f32, b: f32) -> f32 {
    if b == 2.0 { a * a } else { libm::powf(a, b) }
}

/// The second where the first is not 0, else the third.
pub(super) fn select(
    condition: &Array<'_>,
    a: &Array<'_>,
    b: &Array<'_>,
    dims: &[usize],
) -> Vec<f32> {
    let steps = [condition, a, b].map(|array| repeated(array, dims));
    let mut result = Vec::with_capacity(dims.iter().product());
    each_index(dims, |index| {
        let at = |steps: &[usize]| index.iter().zip(steps).map(|(i, step)| i * step).sum::<usize>();
        let chosen = condition.elements[at(&steps[0])] != 0.0;
        result.push(match chosen {
            true => a.elements[at(&steps[1])],
            false => b.elements[at(&steps[2])],
        });
    });
    result
}

fn pairs(
    a: &Array<'_>,
    b: &Array<'_>,
    dims: &[usize],
    value: impl Fn(f32, f32) -> f32,
) -> Vec<f32> {
    if a.dims == b.dims {
        return a.elements.iter().zip(b.elements).map(|(a, b)| value(*a, *b)).collect();
    }
    if let [b] = b.elements
        && a.elements.len() == dims.iter().product::<usize>()
    {
        return a.elements.iter().map(|a| value(*a, *b)).collect();
    }
    let steps = [a, b].map(|array| repeated(array, dims));
    let (dims, [steps_a, steps_b]) = merged(dims, steps);
    // Along the last axis, which is most of the walk, both advance evenly.
    let (last, outer) = match dims.split_last() {
        Some((last, outer)) => (*last, outer),
        None => (1, &dims[..]),
    };
    let step = |of: &[usize]| of.last().copied().unwrap_or(0);
    let mut result = Vec::with_capacity(outer.iter().product::<usize>() * last);
    each_index(outer, |index| {
        let at = |steps: &[usize]| index.iter().zip(steps).map(|(i, step)| i * step).sum::<usize>();
        let (a, b) = (&a.elements[at(&steps_a)..], &b.elements[at(&steps_b)..]);
        match (step(&steps_a), step(&steps_b)) {
            (1, 1) => result.extend(a.iter().zip(b).take(last).map(|(a, b)| value(*a, *b))),
            (1, 0) => result.extend(a.iter().take(last).map(|a| value(*a, b[0]))),
            (0, 1) => result.extend(b.iter().take(last).map(|b| value(a[0], *b))),
            (x, y) => result.extend((0..last).map(|i| value(a[i * x], b[i * y]))),
        }
    });
    result
}

/// Dimensions and steps with neighbouring axes merged along which both advance as along one.
fn merged(dims: &[usize], steps: [Vec<usize>; 2]) -> (Vec<usize>, [Vec<usize>; 2]) {
    let mut axes: Vec<(usize, [usize; 2])> = Vec::new();
    for (axis, dim) in dims.iter().enumerate() {
        let own = [steps[0][axis], steps[1][axis]];
        match axes.last_mut() {
            Some((len, outer)) if (0..2).all(|side| outer[side] == own[side] * dim) => {
                (*len, *outer) = (*len * dim, own);
            }
            _ => axes.push((*dim, own)),
        }
    }
    let side = |side: usize| axes.iter().map(|(_, steps)| steps[side]).collect();
    (axes.iter().map(|(len, _)| *len).collect(), [side(0), side(1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_along_which_both_advance_evenly_are_one() {
        // 2 x 3 x 4 and 4: the outer two are one axis. 2 x 3 x 4 and 3 x 1: none are.
        let whole = vec![12, 4, 1];
        assert_eq!(
            merged(&[2, 3, 4], [whole.clone(), vec![0, 0, 1]]),
            (vec![6, 4], [vec![4, 1], vec![0, 1]])
        );
        assert_eq!(merged(&[2, 3, 4], [whole.clone(), vec![0, 1, 0]]).0, [2, 3, 4]);
        assert_eq!(merged(&[2, 3, 4], [whole.clone(), whole]).0, [24]);
    }
}
