//! Convolution as a product: the pixels that each window sees, laid out strip by strip, times
//! the packed weights.
//!
//! A strip is a run of output pixels, over the ends of rows, that is small enough for its
//! windows to stay in the second-level cache:
//!
//! ```text
//! for each strip of pixels                          (tasks, on several threads)
//!   for each panel of at most 512 elements of the windows
//!     lay out elements x pixels of the strip        (im2col)
//!     for each block of 8 features, for each tile of pixels
//!       add up the panel in registers, then onto the output; bias and activation at the end
//! ```
//!
//! Panels depend on the layer alone, so that the order of every sum does too. A 1x1 convolution
//! takes the same way: its rows run on into each other, and laying out is a plain copy.

use pulp::{Simd, WithSimd};

use super::job::Job;
use super::product::{Finish, TILE, VECTORS, sums};
use super::threads::Parts;
use super::weights::{BLOCK, Block, Form, Weights};
use super::windows::Windows;
use crate::graph::{Conv, Shape};

/// Elements of a strip's laid out panel: half of a small second-level cache.
const STRIP: usize = 128 * 1024;

/// How a convolution is computed: a choice by layer, never by the size of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Dot products of weight rows and the whole input.
    Dense,
    /// Channel by channel.
    Depthwise,
    /// As a product.
    Product,
}

impl Algorithm {
    /// For a convolution of an input of this shape.
    pub(super) fn of(conv: &Conv, shape: Shape) -> Algorithm {
        match conv {
            _ if conv.is_dense(shape) => Algorithm::Dense,
            _ if conv.is_depthwise(shape) => Algorithm::Depthwise,
            _ => Algorithm::Product,
        }
    }

    /// The form of its weights.
    pub(super) fn form(self) -> Form {
        match self {
            Algorithm::Dense | Algorithm::Depthwise => Form::Rows,
            Algorithm::Product => Form::Panels,
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::Dense => "gemv",
            Algorithm::Depthwise => "depthwise",
            Algorithm::Product => "im2col",
        }
    }
}

/// Computes a region of a convolution.
pub(super) fn compute(
    job: &Job<'_>,
    conv: &Conv,
    weights: &Weights,
    input: &[f32],
    output: &mut [f32],
) {
    let window = Windows::new(job, conv, input);
    let output = Parts::new(output);
    let pixels = window.pixels();
    let panel = window.panel();
    let blocks: Vec<Block<'_>> = weights.blocks(job.region.channels).collect();
    let groups: Vec<&[Block<'_>]> = blocks.chunk_by(|a, b| a.group == b.group).collect();

    let channels = job.output.region.channels;
    let first = job.output.line(channels.start, job.region.rows.start).start;
    let plane = job.output.plane();

    let threads = job.threads.count().max(1);
    let tiles = pixels.div_ceil(TILE);
    let strips = tiles.div_ceil((STRIP / (panel * TILE)).max(1));
    let strips = strips.next_multiple_of(threads).min(tiles);
    let parts = threads.div_ceil(strips * groups.len());
    let tasks = strips * groups.len() * parts;
    job.threads.each(tasks, &|task| {
        let (strip, task) = (task % strips, task / strips);
        let (group, part) = (groups[task / parts], task % parts);
        let blocks = &group[part * group.len() / parts..(part + 1) * group.len() / parts];
        let (start, end) = (strip * tiles / strips * TILE, (strip + 1) * tiles / strips * TILE);
        let strip = start..end.min(pixels);
        if blocks.is_empty() || strip.is_empty() {
            return;
        }
        let room = strip.len().next_multiple_of(TILE) * panel;
        job.scratch.lend(room, |room| {
            let (window, output) = (&window, &output);
            let task = Strip { job, window, blocks, strip, output, first, plane, room };
            job.arch.dispatch(task);
        });
    });
}

/// A task: some blocks of features on a strip.
struct Strip<'a> {
    job: &'a Job<'a>,
    window: &'a Windows<'a>,
    blocks: &'a [Block<'a>],
    strip: std::ops::Range<usize>,
    output: &'a Parts<'a>,
    /// Where the output's first channel has the region's first pixel, and elements from channel
    /// to channel.
    first: usize,
    plane: usize,
    room: &'a mut [f32],
}

impl WithSimd for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let elements = self.window.elements();
        let panel = self.window.panel();
        for from in (0..elements).step_by(panel) {
            let to = (from + panel).min(elements);
            self.lay::<S>(from, to);
            let finish =
                Finish { first: from == 0, last: to == elements, activation: self.job.activation };
            for block in self.blocks {
                let weights = &block.panel[from * BLOCK as usize..to * BLOCK as usize];
                self.multiply(simd, finish, block, weights);
            }
        }
    }
}

impl Strip<'_> {
    /// Pixels of the tiles, and where in the room each is laid out.
    #[inline(always)]
    fn tiles<S: Simd>(&self, elements: usize) -> impl Iterator<Item = Tile> + use<S> {
        let (start, end, full) = (self.strip.start, self.strip.end, VECTORS * S::F32_LANES);
        (start..end).step_by(full).map(move |first| {
            let len = full.min(end - first);
            let vectors = len.div_ceil(S::F32_LANES);
            let pitch = vectors * S::F32_LANES;
            Tile { first, len, vectors, pitch, at: (first - start) * elements }
        })
    }

    /// Lays out elements `from..to` of the windows of the strip: element by element along the
    /// rows of the input, which lie far apart from channel to channel.
    #[inline(always)]
    fn lay<S: Simd>(&mut self, from: usize, to: usize) {
        let mut runs = Vec::new();
        for tile in self.tiles::<S>(to - from) {
            let (mut pixel, end) = (tile.first, tile.first + tile.len);
            while pixel < end {
                let run = self.window.run(pixel, end);
                runs.push((run, tile.at + pixel - tile.first, tile.pitch));
                pixel += run.len;
            }
        }
        let (rows, columns) = (self.window.window.rows.kernel, self.window.window.cols.kernel);
        let cells = (rows * columns) as usize;
        let first = self.window.first_channel(self.blocks[0].group);
        for element in from..to {
            let (channel, cell) = (first + (element / cells) as i64, (element % cells) as u32);
            let cell = (cell / columns, cell % columns);
            for &(run, at, pitch) in &runs {
                let out = &mut self.room[at + (element - from) * pitch..][..run.len];
                self.window.lay(channel, cell, run, out);
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, finish: Finish, block: &Block<'_>, weights: &[f32]) {
        let elements = weights.len() / BLOCK as usize;
        for tile in self.tiles::<S>(elements) {
            match tile.vectors {
                1 => self.tile::<S, 1>(simd, finish, block, weights, tile),
                2 => self.tile::<S, 2>(simd, finish, block, weights, tile),
                _ => self.tile::<S, VECTORS>(simd, finish, block, weights, tile),
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize>(
        &self,
        simd: S,
        finish: Finish,
        block: &Block<'_>,
        weights: &[f32],
        tile: Tile,
    ) {
        let pixels = &self.room[tile.at..][..weights.len() / BLOCK as usize * tile.pitch];
        if S::REGISTER_COUNT >= 32 {
            let sums = sums::<S, V, 8>(simd, pixels, weights, 0);
            self.store(simd, finish, block, 0, sums, tile);
        } else {
            for place in [0, 4] {
                let sums = sums::<S, V, 4>(simd, pixels, weights, place);
                self.store(simd, finish, block, place, sums, tile);
            }
        }
    }

    #[inline(always)]
    fn store<S: Simd, const V: usize, const F: usize>(
        &self,
        simd: S,
        finish: Finish,
        block: &Block<'_>,
        place: usize,
        sums: [[S::f32s; V]; F],
        tile: Tile,
    ) {
        for (f, sums) in sums.into_iter().enumerate() {
            let feature = block.first + (place + f) as u32;
            if block.features.contains(feature) {
                let channel = (feature - self.job.output.region.channels.start) as usize;
                let start = self.first + channel * self.plane + tile.first;
                // SAFETY: no other task has this feature of these pixels.
                let out = unsafe { self.output.part(start..start + tile.len) };
                finish.store(simd, sums, block.bias[place + f], out);
            }
        }
    }
}

/// Neighbouring pixels that are computed together.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    len: usize,
    vectors: usize,
    pitch: usize,
    at: usize,
}
