//! Regions of maps to bytes and back: one copy on each side.
//!
//! Every function here takes maps that cover the region it is told; a [`Frame`](super::Frame)
//! makes them so.

use super::Input;
use crate::graph::Shape;
use crate::kernel::Map;
use crate::program::Encoding;
use crate::region::Region;

/// The bytes of `region` of `map`: blocks of channels x rows x width x lanes, little-endian.
/// The region's channels must be whole blocks.
pub fn pack(map: &Map, region: Region) -> Vec<u8> {
    let mut bytes = vec![0; region.lines() as usize * map.width() as usize * 4];
    let mut rest = bytes.as_mut_slice();
    for channel in region.channels.indices().step_by(map.lanes() as usize) {
        let block = block(map, region, channel as u32);
        let (here, after) = rest.split_at_mut(block.len() * 4);
        for (cell, value) in here.chunks_exact_mut(4).zip(&map.as_slice()[block]) {
            cell.copy_from_slice(&value.to_le_bytes());
        }
        rest = after;
    }
    bytes
}

/// Puts the bytes of `region`, with `lanes` channels side by side, where they belong in `map`.
/// Lanes are converted where the sender's differ from the map's.
pub fn unpack(bytes: &[u8], region: Region, lanes: u32, map: &mut Map) {
    let mut values = bytes.chunks_exact(4).map(|cell| {
        // chunks_exact gives four bytes at a time.
        f32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]])
    });
    if lanes == map.lanes() {
        for channel in region.channels.indices().step_by(lanes as usize) {
            let block = block(map, region, channel as u32);
            for (cell, value) in map.as_mut_slice()[block].iter_mut().zip(&mut values) {
                *cell = value;
            }
        }
        return;
    }
    let (width, rows) = (map.width() as usize, region.rows.len() as usize);
    for (index, value) in values.enumerate() {
        let (lane, pixel) = (index % lanes as usize, index / lanes as usize);
        let (column, line) = (pixel % width, pixel / width);
        let (row, group) = (line % rows, line / rows);
        let channel = region.channels.start + group as u32 * lanes + lane as u32;
        let at = element(map, channel, region.rows.start + row as u32, column);
        map.as_mut_slice()[at] = value;
    }
}

/// The pixels of `region` of a planar picture of `shape`.
pub fn pack_pixels(pixels: &[u8], shape: Shape, region: Region) -> Vec<u8> {
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
pub fn unpack_pixels(bytes: &[u8], region: Region, mean: [f32; 3], std: [f32; 3], map: &mut Map) {
    let width = map.width() as usize;
    let mut lines = bytes.chunks_exact(width);
    for channel in region.channels.start..region.channels.end {
        let (mean, std) = (mean[channel.min(2) as usize], std[channel.min(2) as usize]);
        for row in region.rows.start..region.rows.end {
            let (start, lanes) = (element(map, channel, row, 0), map.lanes() as usize);
            let cells = map.as_mut_slice()[start..].iter_mut().step_by(lanes);
            for (cell, pixel) in cells.zip(lines.next().unwrap_or_default()) {
                *cell = (f32::from(*pixel) - mean) / std;
            }
        }
    }
}

/// All elements of a map that holds a whole tensor, in the model's order: channels, rows, width.
pub fn to_planar(map: &Map) -> Vec<f32> {
    let region = map.region();
    let mut values = Vec::with_capacity(region.lines() as usize * map.width() as usize);
    for channel in region.channels.start..region.channels.end {
        for row in region.rows.start..region.rows.end {
            let start = element(map, channel, row, 0);
            let line = map.as_slice()[start..].iter().step_by(map.lanes() as usize);
            values.extend(line.take(map.width() as usize));
        }
    }
    values
}

/// Fills a map with the part that it covers of an input of `shape`.
pub fn load_input(input: &Input, encoding: Encoding, shape: Shape, map: &mut Map) {
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
                    let (start, lanes) = (element(map, channel, row, 0), map.lanes() as usize);
                    let cells = map.as_mut_slice()[start..].iter_mut().step_by(lanes);
                    for (cell, value) in cells.zip(&values[from..from + width]) {
                        *cell = *value;
                    }
                }
            }
        }
    }
}

/// Where the rows of `region` in the block of channels that starts with `channel` lie in `map`.
fn block(map: &Map, region: Region, channel: u32) -> std::ops::Range<usize> {
    let start = element(map, channel, region.rows.start, 0);
    start..start + (region.rows.len() * map.width() * map.lanes()) as usize
}

/// Where one element lies in `map`.
fn element(map: &Map, channel: u32, row: u32, column: usize) -> usize {
    let (held, lanes) = (map.region(), map.lanes() as usize);
    let channel = (channel - held.channels.start) as usize;
    let row = (row - held.rows.start) as usize;
    let line = channel / lanes * held.rows.len() as usize + row;
    (line * map.width() as usize + column) * lanes + channel % lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{ChannelRange, RowRange};

    const WHOLE: Region = Region::new(ChannelRange::new(0, 4), RowRange::new(3, 9));
    const PART: Region = Region::new(ChannelRange::new(2, 4), RowRange::new(4, 6));

    fn counted(lanes: u32) -> Map {
        let mut map = Map::zeros(WHOLE, 5, lanes);
        for channel in 0..4 {
            for row in 3..9 {
                for column in 0..5 {
                    let at = element(&map, channel, row, column);
                    map.as_mut_slice()[at] = (channel * 100 + row * 10) as f32 + column as f32;
                }
            }
        }
        map
    }

    #[test]
    fn a_strip_lands_where_it_was_cut_whatever_the_lanes() {
        for (from, to) in [(1, 1), (2, 2), (1, 2), (2, 1)] {
            let mut landed = Map::zeros(WHOLE, 5, to);
            unpack(&pack(&counted(from), PART), PART, from, &mut landed);
            let mut expected = to_planar(&counted(1));
            for (index, value) in expected.iter_mut().enumerate() {
                let (channel, row) = (index as u32 / 30, 3 + index as u32 / 5 % 6);
                if !PART.channels.contains(channel) || !PART.rows.contains(row) {
                    *value = 0.0;
                }
            }
            assert_eq!(to_planar(&landed), expected, "{from} to {to} lanes");
        }
    }

    #[test]
    fn pixels_are_normalised_where_they_arrive() {
        let shape = Shape::new(3, 2, 2);
        let pixels: Vec<u8> = (0..12).collect();
        let region = Region::new(ChannelRange::all(3), RowRange::new(1, 2));
        let mut map = Map::zeros(region, 2, 1);
        let strip = pack_pixels(&pixels, shape, region);
        assert_eq!(strip, [2, 3, 6, 7, 10, 11]);
        unpack_pixels(&strip, region, [1.0, 2.0, 3.0], [1.0, 2.0, 4.0], &mut map);
        assert_eq!(map.as_slice(), [1.0, 2.0, 2.0, 2.5, 1.75, 2.0]);
    }
}
