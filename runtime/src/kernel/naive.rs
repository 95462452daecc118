//! The plainest possible loops.
use super::map::Map;
use super::weights::Weights;
use crate::graph::{Conv, Pool, Reduction, Shape};
use crate::region::Region;

/// Convolution of `region`, element by element.
pub(super) fn conv(
    conv: &Conv,
    weights: &Weights,
    shape: Shape,
    input: &Map,
    output: &mut Map,
    region: Region,
) {
    let (rows, cols) = (conv.window.rows, conv.window.cols);
    let (outputs, inputs) = (conv.features / conv.groups, shape.channels / conv.groups);
    let data = input.as_slice();
    let width = output.width();
    for feature in region.channels.indices() {
        let Some((piece, place)) = weights.piece_of(feature as u32) else { continue };
        let row = (inputs * rows.kernel * cols.kernel) as usize;
        let weight = piece.row(feature as u32, row);
        let group = feature as u32 / outputs;
        for y in region.rows.indices() {
            let line = output.line(feature as u32, y as u32);
            for x in 0..width {
                let mut sum = 0.0;
                let mut k = 0;
                for c in group * inputs..(group + 1) * inputs {
                    for ky in 0..rows.kernel {
                        for kx in 0..cols.kernel {
                            let iy = (y as i64) * rows.stride as i64 + (ky * rows.dilation) as i64
                                - rows.pad_before as i64;
                            let ix = x as i64 * cols.stride as i64 + (kx * cols.dilation) as i64
                                - cols.pad_before as i64;
                            if (0..shape.rows as i64).contains(&iy)
                                && (0..shape.width as i64).contains(&ix)
                            {
                                sum += weight[k] * data[input.line(c, iy as u32)][ix as usize];
                            }
                            k += 1;
                        }
                    }
                }
                output.as_mut_slice()[line.clone()][x as usize] = sum + piece.bias[place];
            }
        }
    }
}

/// Pooling of `region`, element by element.
pub(super) fn pool(pool: &Pool, shape: Shape, input: &Map, output: &mut Map, region: Region) {
    let (rows, cols) = (pool.window.rows, pool.window.cols);
    let data = input.as_slice();
    for c in region.channels.indices() {
        for y in region.rows.indices() {
            let line = output.line(c as u32, y as u32);
            for x in 0..output.width() {
                let (mut max, mut sum, mut real, mut padded) = (f32::NEG_INFINITY, 0.0, 0, 0);
                for ky in 0..rows.kernel {
                    for kx in 0..cols.kernel {
                        let iy = y as i64 * rows.stride as i64 + (ky * rows.dilation) as i64
                            - rows.pad_before as i64;
                        let ix = x as i64 * cols.stride as i64 + (kx * cols.dilation) as i64
                            - cols.pad_before as i64;
                        if (0..shape.rows as i64).contains(&iy)
                            && (0..shape.width as i64).contains(&ix)
                        {
                            let value = data[input.line(c as u32, iy as u32)][ix as usize];
                            max = f32::max(max, value);
                            sum += value;
                            real += 1;
                        }
                        if iy < (shape.rows + rows.pad_after) as i64
                            && ix < (shape.width + cols.pad_after) as i64
                        {
                            padded += 1;
                        }
                    }
                }
                output.as_mut_slice()[line.clone()][x as usize] = match pool.reduction {
                    Reduction::Max => max,
                    Reduction::Average { count_padding: true } => sum / padded as f32,
                    Reduction::Average { count_padding: false } => sum / (real.max(1)) as f32,
                };
            }
        }
    }
}
