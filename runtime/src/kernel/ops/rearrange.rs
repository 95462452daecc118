//! Operators that only rearrange elements: slices, repetition, other orders.
//!
//! Each of them maps a line of the output to the elements of the input. If a block of channels is a
//! block of the input, whole pixels are copied, otherwise single lanes.

use crate::graph::{Reorder, Shape, Slice};
use crate::kernel::call::job::Job;
use crate::kernel::call::lines::{Line, each_line};
use crate::kernel::memory::map::{Map, Place};

/// Part of a map.
pub(crate) fn slice(job: &Job<'_>, slice: &Slice, input: &Map, output: &mut Map) {
    let source = Source::of(input);
    each_line(job, output.as_mut_slice(), |line, out| {
        let channel = |channel: u32| slice.channels.index(channel);
        let column = |x: usize| slice.cols.index(x as u32) as usize;
        source.line(job, line, slice.rows.index(line.row), channel, column, out);
    });
}

/// Every element `rows` x `cols` times.
pub(crate) fn upsample(job: &Job<'_>, rows: u32, cols: u32, input: &Map, output: &mut Map) {
    let source = Source::of(input);
    each_line(job, output.as_mut_slice(), |line, out| {
        let column = |x: usize| x / cols as usize;
        source.line(job, line, line.row / rows, |channel| channel, column, out);
    });
}

/// Interleaves the channels of `groups` groups.
pub(crate) fn shuffle(job: &Job<'_>, groups: u32, input: &Map, output: &mut Map) {
    let (source, size) = (Source::of(input), job.shape.channels / groups);
    each_line(job, output.as_mut_slice(), |line, out| {
        let channel = |channel: u32| channel % groups * size + channel / groups;
        source.line(job, line, line.row, channel, |x| x, out);
    });
}

/// The rows of all inputs, one below another; `heights` are their numbers.
pub(crate) fn stack(
    job: &Job<'_>,
    inputs: &[&Map],
    heights: impl Iterator<Item = u32>,
    output: &mut Map,
) {
    let mut end = 0;
    let sources: Vec<(u32, u32, Source<'_>)> = (inputs.iter().zip(heights))
        .map(|(input, height)| {
            let start = end;
            end += height;
            (start, end, Source::of(input))
        })
        .collect();
    each_line(job, output.as_mut_slice(), |line, out| {
        let source = sources.iter().find(|(start, end, _)| (*start..*end).contains(&line.row));
        if let Some((start, _, source)) = source {
            source.line(job, line, line.row - start, |channel| channel, |x| x, out);
        }
    });
}

/// Every `block`^2 channels become one with `block` times more rows and columns.
pub(crate) fn depth_to_space(job: &Job<'_>, block: u32, input: &Map, output: &mut Map) {
    let (source, lanes) = (Source::of(input), job.output.lanes);
    each_line(job, output.as_mut_slice(), |line, out| {
        for channel in line.channels.start..line.channels.end {
            for column in 0..block {
                let from = (channel * block + line.row % block) * block + column;
                let elements = source.channel(from, line.row / block);
                let to = out[(column * lanes + channel % lanes) as usize..].iter_mut();
                let to = to.step_by((block * lanes) as usize);
                to.zip(elements).for_each(|(to, from)| *to = *from);
            }
        }
    });
}

/// All elements in another order. They are first copied in planar order, whatever the layout of the
/// maps, so that an element's position is its index.
pub(crate) fn reorder(job: &Job<'_>, order: &Reorder, input: &Map, output: &mut Map) {
    let (from, to, lanes) = (job.shape, order.shape, job.output.lanes);
    // By axis of the result: its length, and the stride of its elements in the input.
    let axes: Vec<(u32, u32)> = (order.axes.iter())
        .map(|axis| {
            let behind = &order.dims[*axis as usize + 1..];
            (order.dims[*axis as usize], behind.iter().product())
        })
        .collect();
    job.scratch.lend(from.elements() as usize, |elements| {
        planar(input, from, elements);
        let elements = &*elements;
        if axes.is_empty() {
            return spread(job, to, 0, elements, output);
        }
        each_line(job, output.as_mut_slice(), |line, out| {
            for channel in line.channels.start..line.channels.end {
                let first = (channel * to.rows + line.row) * to.width;
                let out = out[(channel % lanes) as usize..].iter_mut().step_by(lanes as usize);
                out.zip(first..).for_each(|(to, index)| {
                    *to = elements[place(&axes, index) as usize];
                });
            }
        });
    });
}

/// Fills `elements` with those of a whole map in planar order, which is that of the file.
pub(super) fn planar(input: &Map, shape: Shape, elements: &mut [f32]) {
    let source = Source::of(input);
    for (number, line) in (0..).zip(elements.chunks_exact_mut(shape.width as usize)) {
        let row = source.channel(number / shape.rows, number % shape.rows);
        line.iter_mut().zip(row).for_each(|(to, from)| *to = *from);
    }
}

/// Fills the output, part of a map of shape `to`, from elements in planar order, the first of which
/// is that of channel `first`.
pub(super) fn spread(job: &Job<'_>, to: Shape, first: u32, elements: &[f32], output: &mut Map) {
    let lanes = job.output.lanes;
    let all = output.as_mut_slice();
    if lanes == 1 && job.region == to.region() && all.len() == elements.len() {
        all.copy_from_slice(elements);
        return job.activation.apply(job.arch, all);
    }
    each_line(job, all, |line, out| {
        for channel in line.channels.start..line.channels.end {
            let start = ((channel - first) * to.rows + line.row) as usize * to.width as usize;
            let out = out[(channel % lanes) as usize..].iter_mut().step_by(lanes as usize);
            out.zip(&elements[start..]).for_each(|(to, from)| *to = *from);
        }
    });
}

/// Where the element lies that comes out at position `index`.
fn place(axes: &[(u32, u32)], mut index: u32) -> u32 {
    let mut place = 0;
    for (dim, distance) in axes.iter().rev() {
        place += index % dim * distance;
        index /= dim;
    }
    place
}

/// An input from which elements are taken.
struct Source<'a> {
    place: Place,
    elements: &'a [f32],
}

impl<'a> Source<'a> {
    fn of(map: &'a Map) -> Source<'a> {
        Source { place: map.place(), elements: map.as_slice() }
    }

    /// One row of a channel.
    fn channel(&self, channel: u32, row: u32) -> impl Iterator<Item = &'a f32> {
        let line = &self.elements[self.place.line(channel, row)];
        line[(channel % self.place.lanes) as usize..].iter().step_by(self.place.lanes as usize)
    }

    /// Fills a line of the output from row `row`; `channel` and `column` map the output's channels
    /// and columns to the input's.
    fn line(
        &self,
        job: &Job<'_>,
        line: Line,
        row: u32,
        channel: impl Fn(u32) -> u32,
        column: impl Fn(usize) -> usize,
        out: &mut [f32],
    ) {
        let (lanes, from_lanes) = (job.output.lanes, self.place.lanes);
        let start = channel(line.channels.start);
        let is_block = lanes == from_lanes
            && start.is_multiple_of(lanes)
            && line.channels.start.is_multiple_of(lanes)
            && (0..line.channels.len()).all(|i| channel(line.channels.start + i) == start + i);
        let last = job.output.width as usize - 1;
        // Columns are in ascending order, so none moves if the first and last do not.
        let is_straight = (column(0), column(last)) == (0, last);
        if is_block {
            let from = &self.elements[self.place.line(start, row)];
            if is_straight {
                out.copy_from_slice(&from[..out.len()]);
                return;
            }
            let pixels = out.chunks_exact_mut(lanes as usize).enumerate();
            pixels.for_each(|(x, to)| {
                to.copy_from_slice(&from[column(x) * lanes as usize..][..lanes as usize]);
            });
            return;
        }
        for to in line.channels.start..line.channels.end {
            let (from, lane) = (channel(to), (to % lanes) as usize);
            let elements = &self.elements[self.place.line(from, row)];
            let elements = &elements[(from % from_lanes) as usize..];
            for (x, to) in out[lane..].iter_mut().step_by(lanes as usize).enumerate() {
                *to = elements[column(x) * from_lanes as usize];
            }
        }
    }
}
