//! Interpolation: resizing, sampling at given places, pools of boxes.

use super::array::Array;
use super::index::inside;
use crate::graph::{Coordinates, Interpolation, Nearest, PadMode, Resize, RoiAlign, Sample};

/// The parameter of the cubic that samples pictures.
const CUBIC: f64 = -0.75;

/// Where an element of a result comes from: indices along an axis with their weights, or a number.
enum Taps {
    Weighted(Vec<(usize, f64)>),
    Outside(f32),
}

/// Interpolation along one axis.
pub(super) fn resize(resize: &Resize, x: &Array<'_>, dims: &[usize]) -> Vec<f32> {
    let axis = resize.axis as usize;
    let (outer, len, inner) = x.around(axis);
    let taps: Vec<Taps> = (0..dims[axis]).map(|to| taps(resize, to, len)).collect();
    let mut result = Vec::with_capacity(dims.iter().product());
    for part in 0..outer {
        for taps in &taps {
            match taps {
                Taps::Outside(value) => result.extend(std::iter::repeat_n(*value, inner)),
                Taps::Weighted(taps) => result.extend((0..inner).map(|i| {
                    let at = |index: usize| x.elements[(part * len + index) * inner + i];
                    match taps[..] {
                        [(index, _)] => at(index),
                        _ => taps
                            .iter()
                            .map(|(index, weight)| f64::from(at(*index)) * weight)
                            .sum::<f64>() as f32,
                    }
                })),
            }
        }
    }
    result
}

/// Element `to` of the result of a resize of an axis of `len` elements.
fn taps(resize: &Resize, to: usize, len: usize) -> Taps {
    let (x, scale) = (to as f64, resize.scale);
    let (from, all) = (len as f64, f64::from(resize.to));
    let half_pixel = (x + 0.5) / scale - 0.5;
    let place = match resize.coordinates {
        Coordinates::HalfPixel => half_pixel,
        Coordinates::HalfPixelSymmetric => {
            // The file's scale may make a fraction of an element more than there are.
            let adjustment = all / (scale * from);
            from / 2.0 * (1.0 - adjustment) + half_pixel
        }
        Coordinates::PytorchHalfPixel if all > 1.0 => half_pixel,
        Coordinates::PytorchHalfPixel => 0.0,
        // Of the length that the scale makes, which need not be whole.
        Coordinates::AlignCorners if all > 1.0 => x * (from - 1.0) / (scale * from - 1.0),
        Coordinates::AlignCorners => 0.0,
        Coordinates::Asymmetric => x / scale,
        Coordinates::Crop { start, end, outside } => {
            let (start, end) = (f64::from(start), f64::from(end));
            let place = match all > 1.0 {
                true => start * (from - 1.0) + x * (end - start) * (from - 1.0) / (all - 1.0),
                false => 0.5 * (start + end) * (from - 1.0),
            };
            if place < 0.0 || place > from - 1.0 {
                return Taps::Outside(outside);
            }
            place
        }
    };
    // A smaller result averages over as much more of the input.
    let stretch = if resize.antialias { (1.0 / scale).max(1.0) } else { 1.0 };
    let clamp = |index: f64| index.clamp(0.0, from - 1.0) as usize;
    let (reach, exclude): (f64, bool) = match resize.by {
        Interpolation::Nearest(nearest) => {
            return Taps::Weighted(vec![(clamp(nearest_to(nearest, place)), 1.0)]);
        }
        Interpolation::Linear => (1.0, false),
        Interpolation::Cubic { exclude_outside, .. } => (2.0, exclude_outside),
    };
    let weight = |distance: f64| match resize.by {
        Interpolation::Cubic { a, .. } => cubic(f64::from(a), distance),
        _ => (1.0 - distance.abs()).max(0.0),
    };
    let first = (place - reach * stretch).floor() as i64 + 1;
    let last = (place + reach * stretch).ceil() as i64 - 1;
    let mut found: Vec<(usize, f64)> = (first..=last.max(first))
        .filter(|index| !exclude || (0..len as i64).contains(index))
        .map(|index| (clamp(index as f64), weight((index as f64 - place) / stretch)))
        .collect();
    if found.is_empty() {
        found.push((clamp(place.round()), 1.0));
    }
    if exclude || resize.antialias {
        let sum: f64 = found.iter().map(|(_, weight)| weight).sum();
        if sum != 0.0 {
            found.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
    }
    Taps::Weighted(found)
}

fn nearest_to(nearest: Nearest, place: f64) -> f64 {
    match nearest {
        Nearest::PreferFloor => (place - 0.5).ceil(),
        Nearest::PreferCeil => (place + 0.5).floor(),
        Nearest::Floor => place.floor(),
        Nearest::Ceil => place.ceil(),
    }
}

/// The weight of an element at a distance (Keys, "Cubic convolution interpolation for digital
/// image processing", 1981).
fn cubic(a: f64, distance: f64) -> f64 {
    let x = distance.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// A picture at the places of a grid: batch x rows x columns x (across, down), from -1 to 1.
pub(super) fn grid_sample(
    by: Sample,
    outside: PadMode,
    align_corners: bool,
    x: &Array<'_>,
    grid: &Array<'_>,
) -> Vec<f32> {
    let [batch, channels, height, width] = x.dims[..] else { return Vec::new() };
    let points = grid.elements.len() / 2 / batch;
    let mut result = vec![0.0; batch * channels * points];
    let place = |value: f32, len: usize| {
        let (value, len) = (f64::from(value), len as f64);
        let place = match align_corners {
            true => (value + 1.0) / 2.0 * (len - 1.0),
            false => ((value + 1.0) * len - 1.0) / 2.0,
        };
        // A place between elements is moved inside before it is rounded; of cubics each of the
        // neighbours is.
        match outside {
            _ if by == Sample::Cubic => place,
            PadMode::Edge => place.clamp(0.0, len - 1.0),
            PadMode::Reflect => reflected(place, len, align_corners),
            _ => place,
        }
    };
    let neighbour = |index: i64, len: usize| match outside {
        PadMode::Reflect => Ok(reflected(index as f64, len as f64, align_corners) as i64),
        _ => inside(index, len as i64, outside),
    };
    for item in 0..batch {
        for point in 0..points {
            let at = (item * points + point) * 2;
            let across = place(grid.elements[at], width);
            let down = place(grid.elements[at + 1], height);
            let (rows, columns) = (around(by, down), around(by, across));
            for channel in 0..channels {
                let map = &x.elements[(item * channels + channel) * height * width..];
                let mut sum = 0.0;
                for (row, by_row) in &rows {
                    for (column, by_column) in &columns {
                        let row = neighbour(*row, height);
                        let column = neighbour(*column, width);
                        if let (Ok(row), Ok(column)) = (row, column) {
                            let value = map[row as usize * width + column as usize];
                            sum += f64::from(value) * by_row * by_column;
                        }
                    }
                }
                result[(item * channels + channel) * points + point] = sum as f32;
            }
        }
    }
    result
}

/// Mirrored at the centres of the outer elements, or at their edges.
fn reflected(place: f64, len: f64, align_corners: bool) -> f64 {
    let (low, high) = if align_corners { (0.0, len - 1.0) } else { (-0.5, len - 0.5) };
    let span = high - low;
    if span <= 0.0 || !place.is_finite() {
        return 0.0;
    }
    let rest = (place - low).rem_euclid(2.0 * span);
    (low + rest.min(2.0 * span - rest)).clamp(0.0, len - 1.0)
}

/// Neighbours of a place with their weights.
fn around(by: Sample, place: f64) -> Vec<(i64, f64)> {
    // Far outside any picture, and a number.
    let place = if place.is_nan() { -1e6 } else { place.clamp(-1e6, 1e9) };
    let (first, last) = match by {
        Sample::Nearest => return vec![(place.round_ties_even() as i64, 1.0)],
        Sample::Linear => (0, 1),
        Sample::Cubic => (-1, 2),
    };
    let floor = place.floor();
    (first..=last)
        .map(|step| {
            let distance = floor + f64::from(step) - place;
            let weight = match by {
                Sample::Cubic => cubic(CUBIC, distance),
                _ => 1.0 - distance.abs(),
            };
            (floor as i64 + i64::from(step), weight)
        })
        .collect()
}

/// Pools of boxes, each x1, y1, x2, y2 (He et al., "Mask R-CNN", 2017).
pub(super) fn roi_align(
    roi: &RoiAlign,
    x: &Array<'_>,
    boxes: &Array<'_>,
    batches: &Array<'_>,
) -> Vec<f32> {
    let [batch, channels, height, width] = x.dims[..] else { return Vec::new() };
    let (rows, cols) = (roi.size.0 as usize, roi.size.1 as usize);
    let mut result = Vec::with_capacity(batches.elements.len() * channels * rows * cols);
    let offset = if roi.half_pixel { 0.5 } else { 0.0 };
    for (area, item) in boxes.elements.chunks_exact(4).zip(batches.elements) {
        let side = |at: usize| f64::from(area[at]) * f64::from(roi.scale) - offset;
        let (left, top) = (side(0), side(1));
        let (mut across, mut down) = (side(2) - left, side(3) - top);
        if !roi.half_pixel {
            (across, down) = (across.max(1.0), down.max(1.0));
        }
        let (bin_down, bin_across) = (down / rows as f64, across / cols as f64);
        let samples = |bin: f64| match roi.samples {
            0 => (bin.ceil() as i64).clamp(1, 64),
            samples => i64::from(samples),
        };
        let (down_samples, across_samples) = (samples(bin_down), samples(bin_across));
        let item = super::array::place(*item, batch);
        for channel in 0..channels {
            let map = &x.elements[(item * channels + channel) * height * width..];
            for cell in 0..rows * cols {
                let (row, column) = ((cell / cols) as f64, (cell % cols) as f64);
                let (mut sum, mut largest) = (0.0, f64::NEG_INFINITY);
                for sample in 0..down_samples * across_samples {
                    let (j, i) = (sample / across_samples, sample % across_samples);
                    let y = top + bin_down * (row + (j as f64 + 0.5) / down_samples as f64);
                    let x = left + bin_across * (column + (i as f64 + 0.5) / across_samples as f64);
                    let (value, most) = bilinear(map, height, width, y, x);
                    sum += value;
                    largest = f64::max(largest, most);
                }
                result.push(match roi.largest {
                    true => largest as f32,
                    false => (sum / (down_samples * across_samples) as f64) as f32,
                });
            }
        }
    }
    result
}

/// The value between four neighbours, and the largest of their parts in it.
fn bilinear(map: &[f32], height: usize, width: usize, y: f64, x: f64) -> (f64, f64) {
    let outside = |place: f64, len: usize| !(-1.0..=len as f64).contains(&place);
    if outside(y, height) || outside(x, width) {
        return (0.0, 0.0);
    }
    let side = |place: f64, len: usize| {
        let place = place.max(0.0);
        let low = (place as usize).min(len - 1);
        let part = if low == len - 1 { 0.0 } else { place - low as f64 };
        (low, (low + 1).min(len - 1), part)
    };
    let (top, bottom, down) = side(y, height);
    let (left, right, across) = side(x, width);
    let part =
        |row: usize, column: usize, weight: f64| f64::from(map[row * width + column]) * weight;
    let parts = [
        part(top, left, (1.0 - down) * (1.0 - across)),
        part(top, right, (1.0 - down) * across),
        part(bottom, left, down * (1.0 - across)),
        part(bottom, right, down * across),
    ];
    (parts.iter().sum(), parts.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}
