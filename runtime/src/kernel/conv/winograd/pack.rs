//! Packing of weights for Winograd tiles.

use super::transform::{F2, F3, F4, Transform};
use crate::graph::Tile;
use crate::kernel::memory::lanes::BLOCK;

/// Transforms and packs rows of weights, for a block's features from `skip` on, as positions x
/// channels x [`BLOCK`], with zeros for features that the block lacks.
pub(crate) fn pack(tile: Tile, channels: usize, skip: usize, rows: &[f32]) -> Vec<f32> {
    match tile {
        Tile::F4x4 => panel::<F4, F4, 4, 6, 4, 6>(channels, skip, rows),
        Tile::F3x4 => panel::<F3, F4, 3, 5, 4, 6>(channels, skip, rows),
        Tile::F2x4 => panel::<F2, F4, 2, 4, 4, 6>(channels, skip, rows),
        Tile::F2x2 => panel::<F2, F2, 2, 4, 2, 4>(channels, skip, rows),
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
