//! Direct convolution: windows are read where they lie in the map.
//!
//! The output's pixels are cut into tiles along its rows, and the features into groups of blocks.
//! Every pair is one [register tile](super::register_tile):
//!
//! ```text
//! for each strip of tiles                          (tasks, on several threads)
//!   copy the windows of tiles that overhang the border, with their padding
//!   for each group of blocks of features           (its weights stay in the second-level cache)
//!     for each tile of the strip
//!       add up its windows in registers; bias and activation at the end
//! ```
//!
//! A 1x1 convolution works the same way: its rows form one long row, and nothing is copied.

use std::ops::Range;
use std::sync::Arc;

use pulp::{Simd, WithSimd};

use super::register_tile::{self, Blocks, Cut, MOST_BLOCKS, MOST_PIXELS, Pixels, Sums};
use super::taps::Strides;
use super::weights::{Block, Panels};
use crate::graph::{Conv, Window};
use crate::kernel::call::job::{Addend, Job};
use crate::kernel::call::threads::Parts;
use crate::kernel::memory::lanes::{BLOCK, LANES};
use crate::kernel::memory::segment::Segment;
use crate::kernel::simd::element::Element;
use crate::region::ChannelRange;

/// Elements of the input that a strip reads: half of a small second-level cache.
const STRIP: usize = 128 * 1024;

/// Computes a region of a convolution.
pub(crate) fn compute<W: Element>(
    job: &Job<'_>,
    conv: &Conv,
    weights: &Panels<W>,
    input: &[f32],
    output: &mut [f32],
) {
    let blocks = weights.blocks(job.region.channels);
    let alike = blocks.chunk_by(|a, b| channels(job, conv, a) == channels(job, conv, b));
    let map = Geometry::new(job, conv.window);
    let output = Parts::new(output);
    let tiles = job.arch.dispatch(Row(map.width));

    let threads = job.threads.count().max(1);
    for blocks in alike {
        let channels = channels(job, conv, &blocks[0]);
        let segments = (job.scratch.segments(), job.scratch.segments());
        let windows = Windows::new(job, &map, conv.window, channels, segments);
        let count = map.rows * tiles.len;
        // New input per tile, without what it shares with its neighbours.
        let fresh = map.width * map.down * map.across * channels.len() as usize / tiles.len;
        let strips = count.div_ceil((STRIP / fresh.max(1)).max(2 * tiles.len.min(16)));
        let strips = strips.next_multiple_of(threads).min(count);
        let parts = threads.div_ceil(strips).min(blocks.len());
        job.threads.each(strips * parts, &|task| {
            let (strip, part) = (task % strips, task / strips);
            let blocks = &blocks[part * blocks.len() / parts..(part + 1) * blocks.len() / parts];
            let range = strip * count / strips..(strip + 1) * count / strips;
            let (map, windows, tiles, output) = (&map, &windows, &tiles, &output);
            let strip = Strip { job, map, windows, tiles, blocks, range, input, output };
            let room = strip.overhanging().count() * windows.copy_len;
            job.scratch.lend(room, |room| job.arch.dispatch(Computing { strip, room }));
        });
        job.scratch.take_back(windows.in_map);
        job.scratch.take_back(windows.in_copy);
    }
}

fn channels<W>(job: &Job<'_>, conv: &Conv, block: &Block<W>) -> ChannelRange {
    conv.block_channels(block.first, job.shape)
}

/// The rows of pixels to compute, and where their windows start.
struct Geometry {
    rows: usize,
    width: usize,
    /// First row.
    first: i64,
    /// Strides.
    down: usize,
    across: usize,
    /// Padding before the map.
    above: i64,
    left: i64,
    /// Rows and columns that the input has.
    bounds: (i64, i64),
    /// Where the input's row 0 lies in a block; possibly before its start.
    origin: i64,
    /// Elements from one pixel of the input to the next, and from row to row.
    step: usize,
    pitch: usize,
}

impl Geometry {
    fn new(job: &Job<'_>, window: Window) -> Geometry {
        let (rows, width) = (job.region.rows.len() as usize, job.output.width as usize);
        let held = job.input.region.rows.start;
        let step = job.input.lanes as usize;
        let pitch = job.input.width as usize * step;
        let common = Geometry {
            rows,
            width,
            first: i64::from(job.region.rows.start),
            down: window.rows.stride as usize,
            across: window.cols.stride as usize,
            above: i64::from(window.rows.pad_before),
            left: i64::from(window.cols.pad_before),
            bounds: (i64::from(job.shape.rows), i64::from(job.shape.width)),
            origin: -i64::from(held) * pitch as i64,
            step,
            pitch,
        };
        if window != Window::point() {
            return common;
        }
        // The rows of the region form one long row.
        let pixels = rows * width;
        let origin = i64::from(job.region.rows.start - held) * pitch as i64;
        Geometry {
            rows: 1,
            width: pixels,
            first: 0,
            bounds: (1, pixels as i64),
            origin,
            pitch: pixels * step,
            ..common
        }
    }

    /// Input row and column under the kernel's first cell for a pixel.
    fn corner(&self, row: usize, column: usize) -> (i64, i64) {
        let top = (self.first + row as i64) * self.down as i64 - self.above;
        (top, column as i64 * self.across as i64 - self.left)
    }
}

/// Where the elements of windows over some channels lie: in the map, and in copies.
struct Windows {
    window: Window,
    /// Rows and columns that a window covers.
    extent: (i64, i64),
    in_map: Vec<Segment>,
    in_copy: Vec<Segment>,
    copy: Strides,
    /// Blocks of channels, and elements from block to block in the map.
    blocks: Range<usize>,
    plane: usize,
    /// Elements of a copy of the windows of one tile.
    copy_len: usize,
}

impl Windows {
    /// `segments` are lists to fill.
    fn new(
        job: &Job<'_>,
        map: &Geometry,
        window: Window,
        channels: ChannelRange,
        (mut in_map, mut in_copy): (Vec<Segment>, Vec<Segment>),
    ) -> Windows {
        let (lanes, held) = (job.input.lanes, job.input.region.channels.start);
        let across = window.cols.dilation as usize * map.step;
        let strides = Strides {
            channel: held,
            lanes,
            plane: job.input.plane(),
            row: window.rows.dilation as usize * map.pitch,
            column: across,
        };
        let extent = (window.rows.extent() as i64, window.cols.extent() as i64);
        let most = MOST_PIXELS.min(map.width);
        let pitch = ((most - 1) * map.across + extent.1 as usize) * map.step;
        let plane = window.rows.kernel as usize * pitch;
        let copy = Strides { channel: channels.start, lanes, plane, row: pitch, column: across };
        // A region that reads only padding may come with any map, even one of later channels.
        let first = (channels.start / lanes).saturating_sub(held / lanes) as usize;
        let count = (channels.end.div_ceil(lanes) - channels.start / lanes) as usize;
        strides.segments(channels, window, &mut in_map);
        copy.segments(channels, window, &mut in_copy);
        Windows {
            window,
            extent,
            in_map,
            in_copy,
            copy,
            copy_len: count * plane,
            blocks: first..first + count,
            plane: job.input.plane(),
        }
    }
}

/// [Cuts](Cut::new) a row of so many pixels into tiles.
struct Row(usize);

impl WithSimd for Row {
    type Output = Cut;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Cut {
        Cut::new::<S>(self.0)
    }
}

/// Consecutive tiles for some blocks of features.
struct Strip<'a, W> {
    job: &'a Job<'a>,
    map: &'a Geometry,
    windows: &'a Windows,
    tiles: &'a Cut,
    blocks: &'a [Arc<Block<W>>],
    /// Which tiles, numbered along the rows.
    range: Range<usize>,
    input: &'a [f32],
    output: &'a Parts<'a>,
}

/// A tile of a row.
#[derive(Clone, Copy)]
struct Piece {
    row: usize,
    column: usize,
    count: usize,
    top: i64,
    left: i64,
    /// Whether its windows overhang the border of the map.
    overhangs: bool,
}

impl<W: Element> Strip<'_, W> {
    fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.range.clone().map(|index| {
            let (row, (column, count)) =
                (index / self.tiles.len, self.tiles.tile(index % self.tiles.len));
            let (top, left) = self.map.corner(row, column);
            let right = left + ((count - 1) * self.map.across) as i64 + self.windows.extent.1;
            let overhangs = top < 0
                || left < 0
                || top + self.windows.extent.0 > self.map.bounds.0
                || right > self.map.bounds.1;
            Piece { row, column, count, top, left, overhangs }
        })
    }

    fn overhanging(&self) -> impl Iterator<Item = Piece> {
        self.pieces().filter(|piece| piece.overhangs)
    }

    /// Copies the windows of a tile, with zeros where there is no map.
    #[inline(always)]
    fn copy_windows(&self, piece: Piece, room: &mut [f32]) {
        let (map, copy_strides) = (self.map, self.windows.copy);
        let lines = room.chunks_exact_mut(copy_strides.row);
        let kernel = self.windows.window.rows;
        let rows = self.windows.blocks.clone().flat_map(|block| {
            (0..kernel.kernel).map(move |row| (block, piece.top + i64::from(row * kernel.dilation)))
        });
        let columns = ((piece.count - 1) * map.across) as i64 + self.windows.extent.1;
        let (first, end) = (piece.left.clamp(0, map.bounds.1), (piece.left + columns));
        let end = end.clamp(first, map.bounds.1);
        for ((block, row), line) in rows.zip(lines) {
            if !(0..map.bounds.0).contains(&row) || first == end {
                line[..columns as usize * map.step].fill(0.0);
                continue;
            }
            let from = block as i64 * self.windows.plane as i64
                + map.origin
                + row * map.pitch as i64
                + first * map.step as i64;
            let cells = &self.input[from as usize..][..(end - first) as usize * map.step];
            let skip = (first - piece.left) as usize * map.step;
            line[..skip].fill(0.0);
            line[skip..skip + cells.len()].copy_from_slice(cells);
            line[skip + cells.len()..columns as usize * map.step].fill(0.0);
        }
    }

    /// Groups of blocks that are multiplied at once.
    fn groups(&self, most: usize) -> impl Iterator<Item = Blocks<'_, W>> {
        let mut rest = self.blocks;
        let (channels, rows) = (self.job.output.region.channels, self.job.region.rows);
        let first = self.job.output.line(channels.start, rows.start).start;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let count = register_tile::group(most, rest.len());
            let (group, after) = rest.split_at(count);
            rest = after;
            let of = |index: usize| &*group[index.min(count - 1)];
            let next =
                |index: usize| &*after.get(index).map_or(of(index), |block| &**block).weights;
            let output = |index: usize| {
                let block = of(index).first / LANES - channels.start / LANES;
                first + block as usize * self.job.output.plane()
            };
            let addend = |index: usize| match self.job.addend {
                Some(Addend { place, .. }) => place.line(of(index).first, rows.start).start,
                None => 0,
            };
            Some(Blocks {
                weights: std::array::from_fn::<_, MOST_BLOCKS, _>(|index| &*of(index).weights),
                bias: std::array::from_fn(|index| &of(index).bias),
                output: std::array::from_fn(output),
                addend: std::array::from_fn(addend),
                count,
                next: std::array::from_fn(next),
            })
        })
    }
}

struct Computing<'a, W> {
    strip: Strip<'a, W>,
    room: &'a mut [f32],
}

impl<W: Element> WithSimd for Computing<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Computing { strip, room } = self;
        let (map, windows) = (strip.map, strip.windows);
        for (piece, room) in strip.overhanging().zip(room.chunks_exact_mut(windows.copy_len.max(1)))
        {
            strip.copy_windows(piece, room);
        }
        let step = map.across * map.step;
        let sums = |input, segments| Sums {
            input,
            step,
            segments,
            output: strip.output,
            addend: strip.job.addend.map(|addend| addend.elements),
            activation: strip.job.activation,
        };
        let (plain, overhanging) =
            (sums(strip.input, &windows.in_map), sums(room, &windows.in_copy));
        for group in strip.groups(register_tile::blocks::<S>(strip.tiles.largest)) {
            let mut copied = 0;
            for (left, piece) in (0..strip.range.len()).rev().zip(strip.pieces()) {
                let group = if left == 0 { group } else { group.without_prefetch() };
                let output = (piece.row * map.width + piece.column) * BLOCK;
                let mut pixels = Pixels { input: copied, output, count: piece.count };
                if piece.overhangs {
                    copied += windows.copy_len;
                    overhanging.tile(simd, &group, pixels);
                } else {
                    let row = map.origin + piece.top * map.pitch as i64;
                    pixels.input = (row + piece.left * map.step as i64) as usize;
                    plain.tile(simd, &group, pixels);
                }
            }
        }
    }
}
