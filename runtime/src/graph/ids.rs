//! Names of a graph's tensors, layers and parameters: places in its lists.

use serde::{Deserialize, Serialize};

/// Names a tensor of a graph: an input, or a layer's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TensorId(pub u32);

/// Names a layer of a graph: its place in topological order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerId(pub u32);

/// Names a parameter of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParameterId(pub u32);

impl TensorId {
    /// For indexing tables by tensor.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl LayerId {
    /// For indexing tables by layer.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ParameterId {
    /// For indexing tables by parameter.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
