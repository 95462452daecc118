//! Computes a region of a convolution in Winograd tiles.

// Matrices of registers: an index says more than an iterator.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;
use std::sync::Arc;

use pulp::{Simd, WithSimd};

use super::transform::{F2, F3, F4, Transform};
use crate::graph::{Activation, Conv, Tile};
use crate::kernel::call::job::{Addend, Job};
use crate::kernel::call::threads::Parts;
use crate::kernel::conv::register_tile::{self, Blocks, Cut, MOST_BLOCKS, Pixels, Sums};
use crate::kernel::conv::weights::{Block, Panels};
use crate::kernel::memory::lanes::{BLOCK, LANES};
use crate::kernel::memory::segment::Segment;
use crate::kernel::simd::activate::limit;
use crate::kernel::simd::element::Element;
use crate::kernel::simd::vector;

/// Elements of transformed inputs and outputs that are processed at once.
const GROUP: usize = 384 * 1024;

/// The fewest tiles per group: each group reads all weights.
const LEAST: usize = 28;

/// Computes a region of a convolution whose weights are packed for `tile`.
pub(crate) fn compute<W: Element>(
    job: &Job<'_>,
    tile: Tile,
    conv: &Conv,
    weights: &Panels<W>,
    input: &[f32],
    output: &mut [f32],
) {
    let blocks = weights.blocks(job.region.channels);
    let output = Parts::new(output);
    let (down, across) = tile.outputs();
    let down = job.region.rows.len().div_ceil(down) as usize;
    let across = job.output.width.div_ceil(across) as usize;
    let (positions, count) = (tile.positions(), down * across);
    let channels = (job.shape.channels as usize).next_multiple_of(BLOCK);
    let threads = job.threads.count().max(1);

    let at_once = (GROUP / (positions * (channels + blocks.len() * BLOCK))).max(LEAST);
    let groups = count.div_ceil(at_once);
    let groups = if groups > 1 { groups.next_multiple_of(threads).min(count) } else { 1 };
    let parts = threads.div_ceil(groups).min(blocks.len());
    job.threads.each(groups * parts, &|task| {
        let (group, part) = (task % groups, task / groups);
        let tiles = group * count / groups..(group + 1) * count / groups;
        let blocks = &blocks[part * blocks.len() / parts..(part + 1) * blocks.len() / parts];
        let inputs = positions * position_len(channels / BLOCK, tiles.len());
        let sums = positions * position_len(blocks.len(), tiles.len());
        let output = &output;
        job.scratch.lend(inputs + sums, |room| {
            let (inputs, sums) = room.split_at_mut(inputs);
            let group = Group { job, conv, blocks, tiles, across, input, output };
            job.arch.dispatch(Computing { tile, group, inputs, sums });
        });
    });
}

/// Elements of one position, for this many blocks and tiles. The extra vector keeps positions from
/// competing for the same cache lines.
fn position_len(blocks: usize, tiles: usize) -> usize {
    (blocks * tiles + 1) * BLOCK
}

/// Some tiles for some blocks of features.
struct Group<'a, W> {
    job: &'a Job<'a>,
    conv: &'a Conv,
    blocks: &'a [Arc<Block<W>>],
    /// Which tiles, numbered along rows of tiles.
    tiles: Range<usize>,
    /// Tiles per row.
    across: usize,
    input: &'a [f32],
    output: &'a Parts<'a>,
}

struct Computing<'a, W> {
    tile: Tile,
    group: Group<'a, W>,
    inputs: &'a mut [f32],
    sums: &'a mut [f32],
}

impl<W: Element> WithSimd for Computing<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Computing { tile, group, inputs, sums } = self;
        match tile {
            Tile::F4x4 => group.compute::<S, F4, F4, 4, 6, 4, 6>(simd, inputs, sums),
            Tile::F3x4 => group.compute::<S, F3, F4, 3, 5, 4, 6>(simd, inputs, sums),
            Tile::F2x4 => group.compute::<S, F2, F4, 2, 4, 4, 6>(simd, inputs, sums),
            Tile::F2x2 => group.compute::<S, F2, F2, 2, 4, 2, 4>(simd, inputs, sums),
        }
    }
}

impl<W: Element> Group<'_, W> {
    #[inline(always)]
    fn compute<
        S: Simd,
        R: Transform<MR, AR>,
        C: Transform<MC, AC>,
        const MR: usize,
        const AR: usize,
        const MC: usize,
        const AC: usize,
    >(
        &self,
        simd: S,
        inputs: &mut [f32],
        sums: &mut [f32],
    ) {
        simd.vectorize(Inputs::<W, R, C, MR, AR, MC, AC>(self, inputs, Default::default()));
        self.multiply(simd, AR * AC, inputs, sums);
        simd.vectorize(Outputs::<W, R, C, MR, AR, MC, AC>(self, sums, Default::default()));
    }

    /// For every position, adds up the products of all channels.
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, positions: usize, inputs: &[f32], sums: &mut [f32]) {
        let (tiles, channels) = (self.tiles.len(), self.job.shape.channels as usize);
        let blocks = channels.div_ceil(BLOCK);
        let (from, to) = (position_len(blocks, tiles), position_len(self.blocks.len(), tiles));
        let mut segments = self.job.scratch.segments();
        segments.clear();
        segments.extend((0..blocks).map(|block| Segment {
            offset: block * tiles * BLOCK,
            len: BLOCK.min(channels - block * BLOCK),
        }));
        let cut = Cut::new::<S>(tiles);
        let most = register_tile::blocks::<S>(cut.largest);
        let output = Parts::new(sums);
        let (output, activation) = (&output, Activation::Linear);
        let addend = None;
        let sums =
            Sums { input: inputs, step: BLOCK, segments: &segments, output, addend, activation };
        for index in 0..positions {
            let mut next = 0;
            while next < self.blocks.len() {
                let count = register_tile::group(most, self.blocks.len() - next);
                let of = |i: usize| &self.blocks[next + i.min(count - 1)];
                let panel_start = |index: usize| index * channels * BLOCK;
                let panel = |i: usize| &of(i).weights[panel_start(index)..];
                // The next blocks of this position, or after the last the first of the next one.
                let ahead = |i: usize| match self.blocks.get(next + count + i) {
                    Some(block) => &block.weights[panel_start(index)..],
                    None => {
                        let block = &self.blocks[i.min(self.blocks.len() - 1)];
                        block.weights.get(panel_start(index + 1)..).unwrap_or_default()
                    }
                };
                let group = Blocks {
                    weights: std::array::from_fn::<_, MOST_BLOCKS, _>(panel),
                    bias: [&[0.0; BLOCK]; MOST_BLOCKS],
                    addend: [0; MOST_BLOCKS],
                    output: std::array::from_fn(|i| index * to + (next + i) * tiles * BLOCK),
                    count,
                    next: std::array::from_fn(ahead),
                };
                for tile in 0..cut.len {
                    let (start, count) = cut.tile(tile);
                    let (input, output) = (index * from + start * BLOCK, start * BLOCK);
                    let group = if tile + 1 == cut.len { group } else { group.without_prefetch() };
                    sums.tile(simd, &group, Pixels { input, output, count });
                }
                next += count;
            }
        }
        self.job.scratch.take_back(segments);
    }
}

/// Transforms the inputs under all tiles.
struct Inputs<'a, W, R, C, const MR: usize, const AR: usize, const MC: usize, const AC: usize>(
    &'a Group<'a, W>,
    &'a mut [f32],
    std::marker::PhantomData<(R, C)>,
);

impl<
    W: Element,
    R: Transform<MR, AR>,
    C: Transform<MC, AC>,
    const MR: usize,
    const AR: usize,
    const MC: usize,
    const AC: usize,
> WithSimd for Inputs<'_, W, R, C, MR, AR, MC, AC>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Inputs(group, room, _) = self;
        let (job, window) = (group.job, group.conv.window);
        let reads = window.rows.reads(job.region.rows, job.shape.rows);
        let width = i64::from(job.shape.width);
        let blocks = job.shape.channels.div_ceil(LANES) as usize;
        let (tiles, zero) = (group.tiles.len(), simd.splat_f32s(0.0));
        let pitch = position_len(blocks, tiles);
        let (first_row, above) = (job.region.rows.start, i64::from(window.rows.pad_before));
        for block in 0..blocks {
            let channel = block as u32 * LANES;
            for (index, tile) in group.tiles.clone().enumerate() {
                let (down, across) = (tile / group.across, tile % group.across);
                let top = i64::from(first_row) + (down * MR) as i64 - above;
                let left = (across * MC) as i64 - i64::from(window.cols.pad_before);
                let lines: [Option<&[f32]>; AR] = {
                    let mut lines = [None; AR];
                    for (i, line) in lines.iter_mut().enumerate() {
                        let row = top + i as i64;
                        // Other rows lie under outputs that are not wanted. Even if the map holds
                        // them they must not be read: they may not have arrived yet.
                        if (i64::from(reads.start)..i64::from(reads.end)).contains(&row) {
                            *line = Some(&group.input[job.input.line(channel, row as u32)]);
                        }
                    }
                    lines
                };
                for part in (0..BLOCK).step_by(S::F32_LANES) {
                    let mut half = [[zero; AC]; AR];
                    for j in 0..AC {
                        let x = left + j as i64;
                        if !(0..width).contains(&x) {
                            continue;
                        }
                        let at = x as usize * BLOCK + part;
                        let mut column = [zero; AR];
                        for i in 0..AR {
                            if let Some(line) = lines[i] {
                                column[i] = vector::load::<S>(&line[at..]);
                            }
                        }
                        let column = R::inputs(simd, column);
                        for i in 0..AR {
                            half[i][j] = column[i];
                        }
                    }
                    let start = (block * tiles + index) * BLOCK + part;
                    for i in 0..AR {
                        let row = C::inputs(simd, half[i]);
                        for j in 0..AC {
                            let at = start + (i * AC + j) * pitch;
                            vector::store::<S>(&mut room[at..], row[j]);
                        }
                    }
                }
            }
        }
    }
}

/// Transforms the sums of all tiles into outputs.
struct Outputs<'a, W, R, C, const MR: usize, const AR: usize, const MC: usize, const AC: usize>(
    &'a Group<'a, W>,
    &'a [f32],
    std::marker::PhantomData<(R, C)>,
);

impl<
    W: Element,
    R: Transform<MR, AR>,
    C: Transform<MC, AC>,
    const MR: usize,
    const AR: usize,
    const MC: usize,
    const AC: usize,
> WithSimd for Outputs<'_, W, R, C, MR, AR, MC, AC>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Outputs(group, sums, _) = self;
        let job = group.job;
        let (tiles, zero) = (group.tiles.len(), simd.splat_f32s(0.0));
        let pitch = position_len(group.blocks.len(), tiles);
        let width = job.output.width as usize;
        let limits = job.activation.limits();
        for (block, of) in group.blocks.iter().enumerate() {
            for (index, tile) in group.tiles.clone().enumerate() {
                let (down, across) = (tile / group.across, tile % group.across);
                let (top, left) = (job.region.rows.start + (down * MR) as u32, across * MC);
                let columns = MC.min(width - left);
                let rows = (MR as u32).min(job.region.rows.end - top) as usize;
                for part in (0..BLOCK).step_by(S::F32_LANES) {
                    let bias = vector::load::<S>(&of.bias[part..]);
                    let start = (block * tiles + index) * BLOCK + part;
                    let mut half = [[zero; AC]; MR];
                    for j in 0..AC {
                        let mut column = [zero; AR];
                        for i in 0..AR {
                            let at = start + (i * AC + j) * pitch;
                            column[i] = vector::load::<S>(&sums[at..]);
                        }
                        let column = R::outputs(simd, column);
                        for i in 0..MR {
                            half[i][j] = column[i];
                        }
                    }
                    for (i, half) in half.into_iter().enumerate().take(rows) {
                        let results = C::outputs(simd, half);
                        let line = job.output.line(of.first, top + i as u32).start;
                        let from = line + left * BLOCK;
                        // SAFETY: no other task has these pixels of this block.
                        let out = unsafe { group.output.part(from..from + columns * BLOCK) };
                        let addend = job.addend.map(|Addend { place, elements }| {
                            let line = place.line(of.first, top + i as u32).start;
                            &elements[line + left * BLOCK..][..columns * BLOCK]
                        });
                        for (x, out) in out.chunks_exact_mut(BLOCK).enumerate() {
                            let mut result = simd.add_f32s(results[x], bias);
                            if let Some(addend) = addend {
                                let other = vector::load::<S>(&addend[x * BLOCK + part..]);
                                result = simd.add_f32s(result, other);
                            }
                            vector::store::<S>(&mut out[part..], limit(simd, result, limits));
                        }
                        if part + S::F32_LANES == BLOCK {
                            job.activation.apply_curve(simd, out);
                        }
                    }
                }
            }
        }
    }
}
