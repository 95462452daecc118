//! The dimensions of a model's inputs: from the file, or from the user where the file leaves them
//! open.

use super::constant::Element;
use super::error::Problem;
use super::proto::{TensorTypeProto, ValueInfoProto};

/// The dimensions of an input, all fixed, and its type; an open batch dimension is 1.
pub(super) fn dimensions(
    input: &ValueInfoProto,
    given: Option<&[u64]>,
) -> Result<(Vec<u64>, Element), Problem> {
    let tensor = input.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let Some(TensorTypeProto { element, shape }) = tensor else {
        return Err(Problem::Unsupported("an input that is not a tensor".to_owned()));
    };
    let element = Element::from_onnx(i64::from(*element)).ok_or_else(|| {
        Problem::Unsupported(format!("an input of element type {element}; only numbers are"))
    })?;
    // Some exporters write 0 or -1 for an open dimension.
    let fixed =
        |dim: Option<i64>| dim.and_then(|dim| u64::try_from(dim).ok()).filter(|dim| *dim > 0);
    let found: Option<Vec<Option<u64>>> =
        shape.as_ref().map(|shape| shape.dim.iter().map(|dim| fixed(dim.value)).collect());
    let dims = match (found, given) {
        (None, Some(given)) => given.to_vec(),
        (None, None) => return Err(dynamic(&[])),
        (Some(found), given) => joined(&found, given)?,
    };
    Ok((dims, element))
}

/// The file's dimensions where they are fixed, the user's elsewhere.
fn joined(found: &[Option<u64>], given: Option<&[u64]>) -> Result<Vec<u64>, Problem> {
    let contradicts = |given: &&[u64]| {
        given.len() != found.len()
            || found.iter().zip(*given).any(|(found, given)| found.is_some_and(|dim| dim != *given))
    };
    let open = |(index, dim): (usize, &Option<u64>)| dim.is_none() && index > 0;
    let has_open = found.iter().enumerate().any(open);
    if let Some(given) = given.filter(contradicts) {
        let wanted = format!("the model has {}; --input-shape only fixes a ?", text(found));
        return Err(Problem::Dims { dims: given.to_vec(), wanted });
    }
    match given {
        Some(given) => Ok(given.to_vec()),
        None if has_open => Err(dynamic(found)),
        None => Ok(found.iter().map(|dim| dim.unwrap_or(1)).collect()),
    }
}

fn dynamic(found: &[Option<u64>]) -> Problem {
    let defaults = [1, 3, 224, 224];
    let rank = if found.is_empty() { 4 } else { found.len() };
    let example: Vec<String> = (0..rank)
        .map(|axis| {
            let fixed = found.get(axis).copied().flatten();
            fixed.or(defaults.get(axis).copied()).unwrap_or(1).to_string()
        })
        .collect();
    Problem::Dynamic { dims: text(found), example: example.join(",") }
}

fn text(dims: &[Option<u64>]) -> String {
    let dim = |dim: &Option<u64>| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string());
    if dims.is_empty() {
        return "of any number".to_owned();
    }
    dims.iter().map(dim).collect::<Vec<_>>().join(" x ")
}
