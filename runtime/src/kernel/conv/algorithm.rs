//! How a convolution is computed.

use super::winograd::tile::Tile;
use crate::graph::{Conv, Shape};
use crate::kernel::memory::lanes::LANES;

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Dot products of weight rows and the whole input.
    Dense,
    /// Channel by channel.
    Depthwise,
    /// Window by window.
    Direct,
    /// By tiles of outputs, transformed.
    Winograd(Tile),
}

impl Algorithm {
    /// For a convolution of an input of this shape, the same for every share: what
    /// [exact](crate::kernel::KernelKind::Exact) kernels compute with.
    pub(crate) fn of(conv: &Conv, shape: Shape) -> Algorithm {
        match conv {
            _ if conv.is_dense(shape) => Algorithm::Dense,
            _ if conv.is_depthwise(shape) => Algorithm::Depthwise,
            _ => Algorithm::Direct,
        }
    }

    /// For `rows` rows of its output: the fastest.
    pub(crate) fn fastest(conv: &Conv, shape: Shape, rows: u32) -> Algorithm {
        match Algorithm::of(conv, shape) {
            Algorithm::Direct if shape.channels >= LANES => match Tile::best(conv, shape, rows) {
                Some(tile) => Algorithm::Winograd(tile),
                None => Algorithm::Direct,
            },
            other => other,
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Algorithm::Dense => "gemv",
            Algorithm::Depthwise => "depthwise",
            Algorithm::Direct => "direct",
            Algorithm::Winograd(tile) => tile.name(),
        }
    }
}
