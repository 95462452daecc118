//! Which Winograd tile computes a strip of a 3x3 convolution fastest, and how much work that is.
//!
//! Kernels choose by this and the planner predicts by it, so it lies below both. A tile of 4x4
//! outputs needs a quarter of the products of plain windows, but four times the weights, and rows
//! come in fours: a strip of 5 rows takes as long as one of 8.
//!
//! ```text
//! 512 channels to 512 features, 14 columns       tile    products (direct = 9 per output)
//! 14 rows                                        4x4     4 x 4 tiles x 36   = 2.9 per output
//!  3 rows                                        3x4     1 x 4 tiles x 30   = 2.9 per output
//! ```

use super::DType;
use super::op::Conv;
use super::shape::Shape;
use super::window::Sweep;
use crate::region::CHANNEL_BLOCK;

/// The size of a tile: rows x columns of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tile {
    /// 4 x 4 outputs from 6 x 6 inputs.
    F4x4,
    /// 3 x 4 outputs from 5 x 6 inputs.
    F3x4,
    /// 2 x 4 outputs from 4 x 6 inputs.
    F2x4,
    /// 2 x 2 outputs from 4 x 4 inputs.
    F2x2,
}

/// How many products take as long as reading a byte of weights.
const PRODUCTS_PER_BYTE: f64 = 3.0;

/// How many products take as long as transforming one position of a tile for one channel.
const PRODUCTS_PER_TRANSFORM: f64 = 25.0;

/// What a convolution computed in tiles does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TiledWork {
    /// Products, plus transforms as the number of products that take as long.
    pub(crate) products: f64,
    /// Bytes of transformed weights that are read.
    pub(crate) weight_bytes: f64,
}

impl Tile {
    /// All of them.
    pub(crate) const ALL: [Tile; 4] = [Tile::F4x4, Tile::F3x4, Tile::F2x4, Tile::F2x2];

    /// The tile that computes `rows` rows fastest if weights are kept as `dtype`; `None` if direct convolution is faster, or the
    /// convolution is not 3x3 with stride 1 over at least a block of channels.
    pub(crate) fn best(conv: &Conv, shape: Shape, rows: u32, dtype: DType) -> Option<Tile> {
        let three = |sweep: Sweep| sweep.kernel == 3 && sweep.stride == 1 && sweep.dilation == 1;
        let fits = three(conv.window.rows)
            && three(conv.window.cols)
            && conv.groups == 1
            && shape.channels >= CHANNEL_BLOCK
            && !conv.is_dense(shape);
        if !fits {
            return None;
        }
        let width = conv.window.cols.outputs(shape.width)?;
        let pairs = f64::from(shape.channels) * f64::from(conv.features);
        let cells = f64::from(rows) * f64::from(width) * 9.0;
        let plain = cells * pairs + dtype.size() as f64 * 9.0 * pairs * PRODUCTS_PER_BYTE;
        let cost = |tile: Tile| {
            let work = tile.work(rows, width, shape.channels, conv.features, dtype);
            work.products + work.weight_bytes * PRODUCTS_PER_BYTE
        };
        let best = Tile::ALL.into_iter().min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
        (cost(best) < plain).then_some(best)
    }

    /// What it takes to compute `features` features of `rows` x `width` outputs from `channels`
    /// channels, with weights that are kept as `dtype`.
    pub(crate) fn work(
        self,
        rows: u32,
        width: u32,
        channels: u32,
        features: u32,
        dtype: DType,
    ) -> TiledWork {
        let (down, across) = self.outputs();
        let positions = f64::from((down + 2) * (across + 2));
        let tiles = f64::from(rows.div_ceil(down)) * f64::from(width.div_ceil(across));
        let pairs = f64::from(channels) * f64::from(features);
        let transforms = f64::from(channels + features) * PRODUCTS_PER_TRANSFORM;
        TiledWork {
            products: tiles * positions * (pairs + transforms),
            weight_bytes: dtype.size() as f64 * positions * pairs,
        }
    }

    /// Rows and columns of outputs.
    pub(crate) fn outputs(self) -> (u32, u32) {
        match self {
            Tile::F4x4 => (4, 4),
            Tile::F3x4 => (3, 4),
            Tile::F2x4 => (2, 4),
            Tile::F2x2 => (2, 2),
        }
    }

    /// Positions in a transformed tile: products per tile and channel.
    pub(crate) fn positions(self) -> usize {
        let (down, across) = self.outputs();
        ((down + 2) * (across + 2)) as usize
    }

    /// Its name, for display.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tile::F4x4 => "winograd 4x4",
            Tile::F3x4 => "winograd 3x4",
            Tile::F2x4 => "winograd 2x4",
            Tile::F2x2 => "winograd 2x2",
        }
    }
}
