//! Converts regions of maps to bytes and back, with one copy on each side.
//!
//! A strip on the wire consists of blocks of channels x rows x width x lanes, as in a map, but
//! without the lanes of its first and last block that are outside its channels:
//!
//! ```text
//! channels 8..40 of a map of 16 lanes: 8 lanes of block 0, all of block 1, 8 lanes of block 2
//! ```
//!
//! Every map that is passed in must cover the given region; a [`Frame`](super::Frame) guarantees
//! it.

use std::ops::Range;

use super::elements::{decode, encode};
use super::input::Input;
use crate::graph::{DType, Shape};
use crate::kernel::Map;
use crate::program::Encoding;
use crate::region::{ChannelRange, Region};

/// The bytes of `region` of `map`, as elements of type `wire`.
pub(super) fn pack(map: &Map, region: Region, wire: DType) -> Vec<u8> {
    let (size, lanes) = (wire.size() as usize, map.lanes() as usize);
    let mut bytes = vec![0; region.lines() as usize * map.width() as usize * size];
    let mut rest = &mut bytes[..];
    for channels in blocks(region.channels, map.lanes()) {
        let values = &map.as_slice()[span(map, channels, region)];
        let count = channels.len() as usize;
        let (here, after) = rest.split_at_mut(values.len() / lanes * count * size);
        if count == lanes {
            encode(wire, values, here);
        } else {
            let first = channels.start as usize % lanes;
            let pixels = values.chunks_exact(lanes).zip(here.chunks_exact_mut(count * size));
            pixels.for_each(|(pixel, here)| encode(wire, &pixel[first..first + count], here));
        }
        rest = after;
    }
    bytes
}

/// Unpacks the bytes of `region`, which were packed as `wire` from a map with `lanes`, into `map`,
/// converting the layout if the map has other lanes.
pub(super) fn unpack(bytes: &[u8], wire: DType, region: Region, lanes: u32, map: &mut Map) {
    let size = wire.size() as usize;
    let (width, rows) = (map.width() as usize, region.rows.len() as usize);
    let mut rest = bytes;
    for channels in blocks(region.channels, lanes) {
        let count = channels.len() as usize;
        let (here, after) = rest.split_at((count * rows * width * size).min(rest.len()));
        rest = after;
        if lanes == map.lanes() {
            let span = span(map, channels, region);
            let values = &mut map.as_mut_slice()[span];
            let (lanes, first) = (lanes as usize, (channels.start % lanes) as usize);
            if count == lanes {
                decode(wire, here, values);
            } else {
                let pixels = values.chunks_exact_mut(lanes).zip(here.chunks_exact(count * size));
                pixels.for_each(|(pixel, here)| {
                    decode(wire, here, &mut pixel[first..first + count]);
                });
            }
        } else {
            let mut values = vec![0.0; here.len() / size];
            decode(wire, here, &mut values);
            for (lane, channel) in channels.indices().enumerate() {
                let mut values = values.iter().skip(lane).step_by(count);
                for row in region.rows.start..region.rows.end {
                    let line = line_mut(map, channel as u32, row).zip(&mut values);
                    line.for_each(|(cell, value)| *cell = *value);
                }
            }
        }
    }
}

/// The pixels of `region` of a planar picture with this `shape`.
pub(super) fn pack_pixels(pixels: &[u8], shape: Shape, region: Region) -> Vec<u8> {
    let width = shape.width as usize;
    let plane = shape.rows as usize * width;
    let rows = region.rows.indices();
    let mut bytes = Vec::with_capacity(region.lines() as usize * width);
    for channel in region.channels.indices() {
        let start = channel * plane;
        bytes.extend_from_slice(&pixels[start + rows.start * width..start + rows.end * width]);
    }
    bytes
}

/// Normalises the pixels of `region` into `map`.
pub(super) fn unpack_pixels(
    bytes: &[u8],
    region: Region,
    mean: [f32; 3],
    std: [f32; 3],
    map: &mut Map,
) {
    let width = map.width() as usize;
    let mut lines = bytes.chunks_exact(width);
    for channel in region.channels.start..region.channels.end {
        let (mean, std) = (mean[channel.min(2) as usize], std[channel.min(2) as usize]);
        for row in region.rows.start..region.rows.end {
            let pixels = lines.next().unwrap_or_default();
            let cells = line_mut(map, channel, row).zip(pixels);
            cells.for_each(|(cell, pixel)| *cell = (f32::from(*pixel) - mean) / std);
        }
    }
}

/// All elements of a map in the model's order: channels, rows, width.
pub(super) fn to_planar(map: &Map) -> Vec<f32> {
    let region = map.region();
    let lanes = map.lanes() as usize;
    let mut values = Vec::with_capacity(region.lines() as usize * map.width() as usize);
    for channel in region.channels.start..region.channels.end {
        for row in region.rows.start..region.rows.end {
            let line = &map.as_slice()[map.line(channel, row)];
            values.extend(line[channel as usize % lanes..].iter().step_by(lanes));
        }
    }
    values
}

/// Fills a map with the part that it covers of an input with this `shape`.
pub(super) fn load_input(input: &Input, encoding: Encoding, shape: Shape, map: &mut Map) {
    let region = map.region();
    match (input, encoding) {
        (Input::Pixels(pixels), Encoding::Pixels { mean, std }) => {
            unpack_pixels(&pack_pixels(pixels, shape, region), region, mean, std, map);
        }
        (Input::Pixels(pixels), Encoding::F32) => {
            let plain = ([0.0; 3], [1.0; 3]);
            unpack_pixels(&pack_pixels(pixels, shape, region), region, plain.0, plain.1, map);
        }
        (Input::Values(values), _) => {
            let (rows, width) = (shape.rows as usize, shape.width as usize);
            for channel in region.channels.start..region.channels.end {
                for row in region.rows.start..region.rows.end {
                    let from = (channel as usize * rows + row as usize) * width;
                    let cells = line_mut(map, channel, row).zip(&values[from..from + width]);
                    cells.for_each(|(cell, value)| *cell = *value);
                }
            }
        }
    }
}

/// Splits `channels` at the borders of blocks of `lanes`.
fn blocks(channels: ChannelRange, lanes: u32) -> impl Iterator<Item = ChannelRange> {
    let count = channels.end.div_ceil(lanes);
    let blocks = (channels.start / lanes..count)
        .map(move |block| ChannelRange::new(block * lanes, (block + 1).saturating_mul(lanes)));
    blocks.map(move |block| block.intersect(channels)).filter(|part| !part.is_empty())
}

/// Where the rows of `region` lie in the block of `map` that holds `channels`.
fn span(map: &Map, channels: ChannelRange, region: Region) -> Range<usize> {
    let first = map.line(channels.start, region.rows.start);
    first.start..first.start + first.len() * region.rows.len() as usize
}

/// The elements of one row of a channel.
fn line_mut(map: &mut Map, channel: u32, row: u32) -> impl Iterator<Item = &mut f32> {
    let (line, lanes) = (map.line(channel, row), map.lanes() as usize);
    map.as_mut_slice()[line][channel as usize % lanes..].iter_mut().step_by(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::RowRange;

    const WHOLE: Region = Region::new(ChannelRange::new(0, 7), RowRange::new(3, 9));

    fn counted(region: Region, lanes: u32) -> Map {
        let mut map = Map::zeros(region, 5, lanes);
        map.as_mut_slice().fill(f32::NAN);
        for channel in region.channels.start..region.channels.end {
            for row in region.rows.start..region.rows.end {
                for (x, cell) in line_mut(&mut map, channel, row).enumerate() {
                    *cell = (channel * 100 + row * 10) as f32 + x as f32;
                }
            }
        }
        map
    }

    #[test]
    fn a_strip_lands_where_it_was_cut_whatever_the_lanes() {
        let parts = [WHOLE.channels, ChannelRange::new(2, 6), ChannelRange::new(3, 5)];
        let lanes = [(1, 1), (2, 2), (4, 4), (1, 4), (4, 1), (16, 16), (2, 3)];
        // Halves hold these numbers, too.
        let wires = [DType::F32, DType::F16];
        for ((from, to), wire) in lanes.into_iter().flat_map(|pair| wires.map(|wire| (pair, wire)))
        {
            for channels in parts {
                let part = Region::new(channels, RowRange::new(4, 6));
                let strip = pack(&counted(WHOLE, from), part, wire);
                assert_eq!(strip.len() as u64, part.lines() * 5 * wire.size());
                // A map of just the part, and one of everything.
                let mut landed = Map::zeros(part, 5, to);
                unpack(&strip, wire, part, from, &mut landed);
                assert_eq!(to_planar(&landed), to_planar(&counted(part, 1)), "{from} to {to}");
                let mut landed = Map::zeros(WHOLE, 5, to);
                unpack(&strip, wire, part, from, &mut landed);
                let inside: Vec<f32> =
                    to_planar(&landed).into_iter().filter(|value| *value != 0.0).collect();
                assert_eq!(inside, to_planar(&counted(part, 1)), "{from} to {to} lanes");
            }
        }
    }

    #[test]
    fn pixels_are_normalised_where_they_arrive() {
        let shape = Shape::new(3, 2, 2);
        let pixels: Vec<u8> = (0..12).collect();
        let region = Region::new(ChannelRange::all(3), RowRange::new(1, 2));
        let strip = pack_pixels(&pixels, shape, region);
        assert_eq!(strip, [2, 3, 6, 7, 10, 11]);
        for lanes in [1, 2, 16] {
            let mut map = Map::zeros(region, 2, lanes);
            unpack_pixels(&strip, region, [1.0, 2.0, 3.0], [1.0, 2.0, 4.0], &mut map);
            assert_eq!(to_planar(&map), [1.0, 2.0, 2.0, 2.5, 1.75, 2.0]);
        }
    }
}
