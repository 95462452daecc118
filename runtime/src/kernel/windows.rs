//! Where in memory the elements of a convolution's windows lie.
//!
//! Windows are laid out element by element, over neighbouring pixels: for one cell of the kernel
//! and one channel these are a piece of an input row, shifted and strided, with padding where it
//! hangs over the border.

use super::job::Job;
use super::padded::copy_padded;
use crate::graph::{Conv, Window};

/// Elements of a window that are added up before the sums are stored.
const PANEL: usize = 512;

/// The windows of a layer, as an address of every element of every window.
pub(super) struct Windows<'a> {
    input: &'a [f32],
    /// Output pixels a row, and rows.
    width: usize,
    rows: usize,
    /// First output row.
    first: i64,
    pub(super) window: Window,
    /// Rows and width of the input with nothing but padding around.
    bounds: (i64, i64),
    /// Address of the first channel's row 0, column 0, which may lie before the map's.
    origin: i64,
    /// Input channels of a group.
    channels: u32,
    /// Channels before the map's first.
    skipped: u32,
    /// Elements from channel to channel.
    plane: i64,
}

impl<'a> Windows<'a> {
    pub(super) fn new(job: &Job<'_>, conv: &Conv, input: &'a [f32]) -> Windows<'a> {
        let (rows, width) = (job.region.rows.len() as usize, job.output.width as usize);
        let start = job.input.region.rows.start;
        let common = Windows {
            input,
            width,
            rows,
            first: i64::from(job.region.rows.start),
            window: conv.window,
            bounds: (i64::from(job.shape.rows), i64::from(job.shape.width)),
            origin: -i64::from(start) * i64::from(job.shape.width),
            channels: job.shape.channels / conv.groups,
            skipped: job.input.region.channels.start,
            plane: job.input.plane() as i64,
        };
        if conv.window != Window::point() {
            return common;
        }
        // Pixel by pixel: the rows of the region are one long row.
        let pixels = rows * width;
        let origin = i64::from(job.region.rows.start - start) * i64::from(job.shape.width);
        Windows { width: pixels, rows: 1, first: 0, bounds: (1, pixels as i64), origin, ..common }
    }

    pub(super) fn pixels(&self) -> usize {
        self.rows * self.width
    }

    /// Elements of one window.
    pub(super) fn elements(&self) -> usize {
        self.channels as usize * self.window.cells() as usize
    }

    /// Elements of a panel: all panels of a layer are about equally large.
    pub(super) fn panel(&self) -> usize {
        self.elements().div_ceil(self.elements().div_ceil(PANEL))
    }

    /// The first channel that a group reads, counted from the map's; negative only where it reads
    /// nothing but padding, so that the map may hold anything.
    pub(super) fn first_channel(&self, group: u32) -> i64 {
        i64::from(group * self.channels) - i64::from(self.skipped)
    }

    /// Pixels of one output row, from `pixel` on and before `end`.
    pub(super) fn run(&self, pixel: usize, end: usize) -> Run {
        let (row, column) = (pixel / self.width, pixel % self.width);
        let (down, across) = (self.window.rows, self.window.cols);
        Run {
            top: (self.first + row as i64) * i64::from(down.stride) - i64::from(down.pad_before),
            left: column as i64 * i64::from(across.stride) - i64::from(across.pad_before),
            len: (self.width - column).min(end - pixel),
        }
    }

    /// Element `element` of the windows of neighbouring pixels.
    #[inline(always)]
    pub(super) fn lay(&self, channel: i64, (row, column): (u32, u32), run: Run, out: &mut [f32]) {
        let (down, across) = (self.window.rows, self.window.cols);
        let y = run.top + i64::from(row) * i64::from(down.dilation);
        let x = run.left + i64::from(column) * i64::from(across.dilation);
        if (0..self.bounds.0).contains(&y) {
            let start = self.origin + channel * self.plane + y * self.bounds.1;
            let row = &self.input[start as usize..][..self.bounds.1 as usize];
            copy_padded(row, x, across.stride as usize, 0.0, out);
        } else {
            out.fill(0.0);
        }
    }
}

/// Neighbouring pixels of one output row: where the first one's window begins, how many they are.
#[derive(Clone, Copy)]
pub(super) struct Run {
    top: i64,
    left: i64,
    pub(super) len: usize,
}
