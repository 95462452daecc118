//! Sizes of Winograd tiles: which one is best for a layer, and how its weights are packed.

use super::transform::{F2, F4, Transform};
use crate::graph::{Conv, Shape, Sweep};
use crate::kernel::memory::lanes::BLOCK;

/// The size of a tile: rows x columns of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tile {
    /// 4 x 4 outputs from 6 x 6 inputs.
    F4x4,
    /// 2 x 4 outputs from 4 x 6 inputs.
    F2x4,
    /// 2 x 2 outputs from 4 x 4 inputs.
    F2x2,
}

/// How many products take as long as reading a byte of weights.
const PRODUCTS_PER_BYTE: f64 = 3.0;

/// How many products take as long as transforming one position for 16 channels.
const PRODUCTS_PER_TRANSFORM: f64 = 25.0;

impl Tile {
    /// The tile that computes `rows` rows fastest; `None` if direct convolution is faster, or the
    /// convolution is not 3x3 with stride 1.
    pub(crate) fn best(conv: &Conv, shape: Shape, rows: u32) -> Option<Tile> {
        let three = |sweep: Sweep| sweep.kernel == 3 && sweep.stride == 1 && sweep.dilation == 1;
        if !three(conv.window.rows) || !three(conv.window.cols) || conv.groups != 1 {
            return None;
        }
        let width = conv.window.cols.outputs(shape.width)?;
        let pairs = f64::from(shape.channels) * f64::from(conv.features);
        let bytes = |positions: u32| 4.0 * f64::from(positions) * pairs;
        let cells = f64::from(rows) * f64::from(width) * 9.0;
        let plain = cells * pairs + bytes(9) * PRODUCTS_PER_BYTE;
        let cost = |tile: Tile| {
            let (down, across) = tile.outputs();
            let positions = (down + 2) * (across + 2);
            let tiles = f64::from(rows.div_ceil(down)) * f64::from(width.div_ceil(across));
            let transforms = f64::from(shape.channels + conv.features) * PRODUCTS_PER_TRANSFORM;
            tiles * f64::from(positions) * (pairs + transforms)
                + bytes(positions) * PRODUCTS_PER_BYTE
        };
        let tiles = [Tile::F4x4, Tile::F2x4, Tile::F2x2];
        let best = tiles.into_iter().min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
        (cost(best) < plain).then_some(best)
    }

    /// Its name, for display.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tile::F4x4 => "winograd 4x4",
            Tile::F2x4 => "winograd 2x4",
            Tile::F2x2 => "winograd 2x2",
        }
    }

    /// Positions in a transformed tile: products per tile and channel.
    pub(crate) fn positions(self) -> usize {
        let (down, across) = self.outputs();
        ((down + 2) * (across + 2)) as usize
    }

    /// Rows and columns of outputs.
    pub(crate) fn outputs(self) -> (u32, u32) {
        match self {
            Tile::F4x4 => (4, 4),
            Tile::F2x4 => (2, 4),
            Tile::F2x2 => (2, 2),
        }
    }

    /// Transforms and packs rows of weights, for a block's features from `skip` on, as positions x
    /// channels x [`BLOCK`], with zeros for features that the block lacks.
    pub(crate) fn panel(self, channels: usize, skip: usize, rows: &[f32]) -> Vec<f32> {
        match self {
            Tile::F4x4 => panel::<F4, F4, 4, 6, 4, 6>(channels, skip, rows),
            Tile::F2x4 => panel::<F2, F4, 2, 4, 4, 6>(channels, skip, rows),
            Tile::F2x2 => panel::<F2, F2, 2, 4, 2, 4>(channels, skip, rows),
        }
    }
}

fn panel<
    R: Transform<MR, AR>,
    C: Transform<MC, AC>,
    const MR: usize,
    const AR: usize,
    const MC: usize,
    const AC: usize,
>(
    channels: usize,
    skip: usize,
    rows: &[f32],
) -> Vec<f32> {
    let mut panel = vec![0.0; AR * AC * channels * BLOCK];
    for channel in 0..channels {
        let mut kernel = [[0.0; BLOCK]; 9];
        for (feature, weights) in rows.chunks_exact(9 * channels).enumerate() {
            for (cell, weight) in kernel.iter_mut().zip(&weights[9 * channel..]) {
                cell[skip + feature] = *weight;
            }
        }
        for (i, row) in R::KERNEL.iter().enumerate() {
            // The kernel's three columns after the transform of its rows.
            let mut columns = [[0.0; BLOCK]; 3];
            for (c, column) in columns.iter_mut().enumerate() {
                for f in 0..BLOCK {
                    column[f] = row[0] * kernel[c][f]
                        + row[1] * kernel[3 + c][f]
                        + row[2] * kernel[6 + c][f];
                }
            }
            for (j, col) in C::KERNEL.iter().enumerate() {
                let start = ((i * AC + j) * channels + channel) * BLOCK;
                for (f, out) in panel[start..start + BLOCK].iter_mut().enumerate() {
                    *out = col[0] * columns[0][f] + col[1] * columns[1][f] + col[2] * columns[2][f];
                }
            }
        }
    }
    panel
}
