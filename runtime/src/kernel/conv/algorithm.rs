//! Which algorithm computes a convolution.

use crate::graph::{Conv, DType, Shape, Tile};

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Dot products of rows of weights with the whole input.
    Dense,
    /// Channel by channel.
    Depthwise,
    /// Window by window.
    Direct,
    /// Tile by tile, transformed.
    Winograd(Tile),
}

impl Algorithm {
    /// The algorithm for a convolution of an input of this shape, the same for every share: used by
    /// [exact](crate::kernel::KernelKind::Exact) kernels.
    pub(crate) fn of(conv: &Conv, shape: Shape) -> Algorithm {
        match conv {
            _ if conv.is_dense(shape) => Algorithm::Dense,
            _ if conv.is_depthwise(shape) => Algorithm::Depthwise,
            _ => Algorithm::Direct,
        }
    }

    /// The fastest algorithm for `rows` rows of output, if weights are kept as `dtype`.
    pub(crate) fn fastest(conv: &Conv, shape: Shape, rows: u32, dtype: DType) -> Algorithm {
        match Algorithm::of(conv, shape) {
            Algorithm::Direct => match Tile::best(conv, shape, rows, dtype) {
                Some(tile) => Algorithm::Winograd(tile),
                None => Algorithm::Direct,
            },
            other => other,
        }
    }

    /// Its name, for display.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Algorithm::Dense => "gemv",
            Algorithm::Depthwise => "depthwise",
            Algorithm::Direct => "direct",
            Algorithm::Winograd(tile) => tile.name(),
        }
    }
}
