//! The shapes that a user gives to a model's inputs.

use std::collections::BTreeMap;

/// Shapes for inputs whose dimensions the file leaves open.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct InputShapes {
    /// For inputs that are not named; of several inputs, those that it fits.
    pub any: Option<Vec<u64>>,
    /// By name.
    pub named: BTreeMap<String, Vec<u64>>,
}

impl InputShapes {
    /// One shape for whatever it fits.
    pub fn of(dims: &[u64]) -> InputShapes {
        InputShapes { any: Some(dims.to_vec()), named: BTreeMap::new() }
    }

    /// The shape for an input.
    pub(super) fn get(&self, name: &str) -> Option<&[u64]> {
        self.named.get(name).or(self.any.as_ref()).map(Vec::as_slice)
    }
}
