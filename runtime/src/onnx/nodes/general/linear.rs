//! Products of matrices and sums of products.

use super::steps::{Steps, attribute, loaded};
use crate::graph::{Binary, Einsum, Function};
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::Node;
use crate::onnx::nodes::loaded::Loaded;

/// `MatMul` of any two tensors.
pub(crate) fn matmul_any(import: &mut Import, node: &Node) -> Loaded {
    let mut steps = Steps::new(import, node);
    loaded(product(&mut steps, node.value(0)?, node.value(1)?))
}

/// The product of two tensors, of which vectors are matrices of one row or one column.
pub(super) fn product(steps: &mut Steps, a: &Value, b: &Value) -> Result<Value, Problem> {
    let (left, right) = (a.dims().len() == 1, b.dims().len() == 1);
    let a = if left { a.reshaped([&[1], a.dims()].concat())? } else { a.clone() };
    let b = if right { b.reshaped([b.dims(), &[1]].concat())? } else { b.clone() };
    let result = steps.apply(Function::MatMul, &[&a, &b], a.element())?;
    let mut dims = result.dims().to_vec();
    if right {
        dims.pop();
    }
    if left {
        dims.remove(dims.len() - usize::from(!right) - 1);
    }
    result.reshaped(dims)
}

/// `Gemm` of any two matrices.
pub(crate) fn gemm_any(import: &mut Import, node: &Node) -> Loaded {
    let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
    let turned = [node.flag("transA")?, node.flag("transB")?];
    let mut steps = Steps::new(import, node);
    let mut sides = Vec::new();
    for (index, turned) in turned.into_iter().enumerate() {
        let side = node.value(index)?;
        if side.dims().len() != 2 {
            let wanted = "a matrix is needed; put a Flatten before it".to_owned();
            return Err(Problem::Dims { dims: side.dims().to_vec(), wanted });
        }
        sides.push(if turned { steps.permuted(side, &[1, 0])? } else { side.clone() });
    }
    let mut result = product(&mut steps, &sides[0], &sides[1])?;
    if alpha != 1.0 {
        result = steps.scalar(Binary::Mul, &result, alpha)?;
    }
    if let Some(Some(summand)) = node.inputs().get(2) {
        let mut summand = summand.clone();
        if beta != 1.0 {
            summand = steps.scalar(Binary::Mul, &summand, beta)?;
        }
        result = steps.binary(Binary::Add, &result, &summand)?;
    }
    Ok(vec![result])
}

/// `Einsum` of an equation in letters; an ellipsis stands for the axes that no letter names.
pub(crate) fn einsum(import: &mut Import, node: &Node) -> Loaded {
    const WANTED: &str = "a sum of products such as ij,jk->ik";
    let problem = || attribute("equation", WANTED);
    let equation: String = node.text("equation")?.split_whitespace().collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&equation[..], None),
    };
    let values: Vec<&Value> =
        (0..node.inputs().len()).map(|index| node.value(index)).collect::<Result<_, _>>()?;
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != values.len() {
        return Err(problem());
    }
    // Letters get numbers from 1 on; the axes of an ellipsis those from 53 on, counted from its end.
    let number = |letter: char| match letter {
        'a'..='z' => Some(letter as u8 - b'a' + 1),
        'A'..='Z' => Some(letter as u8 - b'A' + 27),
        _ => None,
    };
    let named = |term: &str, hidden: usize| -> Option<Vec<u8>> {
        let (before, after) = match term.split_once("...") {
            Some((before, after)) => (before, Some(after)),
            None => (term, None),
        };
        let mut letters: Vec<u8> = before.chars().map(number).collect::<Option<_>>()?;
        if let Some(after) = after {
            letters.extend((0..hidden).map(|axis| 53 + (hidden - 1 - axis) as u8));
            letters.extend(after.chars().map(number).collect::<Option<Vec<u8>>>()?);
        }
        Some(letters)
    };
    let mut inputs = Vec::new();
    let mut hidden = 0;
    for (term, value) in terms.iter().zip(&values) {
        let letters = term.replace("...", "").chars().count();
        let own = value.dims().len().checked_sub(letters).filter(|own| *own <= 8);
        let own = own.ok_or_else(problem)?;
        hidden = hidden.max(if term.contains("...") { own } else { 0 });
        inputs.push(named(term, own).ok_or_else(problem)?);
    }
    let output = match right {
        Some(right) => named(right, hidden).ok_or_else(problem)?,
        None => {
            // All letters that occur once, in alphabetical order, behind the ellipsis.
            let all: Vec<u8> = inputs.iter().flatten().copied().collect();
            let once = |letter: &u8| all.iter().filter(|other| *other == letter).count() == 1;
            let mut letters: Vec<u8> =
                all.iter().filter(|letter| **letter < 53 && once(letter)).copied().collect();
            letters.sort_unstable();
            let hidden = (0..hidden).map(|axis| 53 + (hidden - 1 - axis) as u8);
            hidden.chain(letters).collect()
        }
    };
    let sum = Function::Einsum(Einsum { inputs, output });
    let mut steps = Steps::new(import, node);
    loaded(steps.apply(sum, &values, values[0].element()))
}
