//! How weights are packed: planning counts the blocks that kernels make, without making any.

use super::{DType, LayerId, Tile};

/// How a block's weights lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Elements of a row x a block of features, with zeros for features that a block lacks. Elements
    /// are in the order of a map in blocks: blocks of channels x cells of the window x channels of
    /// the block.
    Cells,
    /// Elements of a window x a block of features, in the order in which windows are read.
    Windows {
        /// Lanes of the input's maps.
        lanes: u32,
    },
    /// Positions in a transformed tile x channels x a block of features.
    Winograd(Tile),
}

/// Names a block of packed weights: plans with the same one share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockId {
    /// Whose weights.
    pub layer: LayerId,
    /// Its first feature.
    pub first: u32,
    /// How they are packed.
    pub form: Form,
    /// What they are kept as.
    pub dtype: DType,
}
