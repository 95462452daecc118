//! What a loader returns.

use crate::onnx::error::Problem;
use crate::onnx::import::{Value, View};

/// What a loader returns: a value for each of the node's outputs. Other nodes cannot read outputs
/// that it leaves out.
pub(crate) type Loaded = Result<Vec<Value>, Problem>;

/// The value of a node with one output.
pub(super) fn one(view: View) -> Loaded {
    Ok(vec![Value::View(view)])
}
