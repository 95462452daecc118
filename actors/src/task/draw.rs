//! Pictures with boxes drawn into them.

use std::path::{Path, PathBuf};

use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};

use super::bounds::Detection;
use crate::input::{InputError, load_picture};

/// Rows and columns of a letter.
const LETTER: u32 = 8;

/// Why boxes were not drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// The picture cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The result cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: image::ImageError,
    },
}

/// Draws boxes, with their labels and scores, into a copy of a picture; a png or jpeg file, by the
/// ending of `to`.
///
/// # Errors
/// When the picture cannot be read or the copy cannot be written.
pub fn draw(
    picture: &Path,
    detections: &[Detection],
    labels: &[String],
    to: &Path,
) -> Result<(), DrawError> {
    let mut picture = load_picture(picture)?;
    // The surest one last, over all others.
    detections.iter().rev().for_each(|one| draw_one(&mut picture, one, labels));
    picture.save(to).map_err(|source| DrawError::Write { path: to.to_owned(), source })
}

fn draw_one(picture: &mut RgbImage, one: &Detection, labels: &[String]) {
    let (width, height) = picture.dimensions();
    let thickness = (width.min(height) / 200).max(1);
    let colour = colour(one.class);
    // Bounds lie within the picture.
    let [left, top] = [one.bounds.left, one.bounds.top].map(|at| at as u32);
    let [right, bottom] = [one.bounds.right, one.bounds.bottom].map(|at| at.ceil() as u32);
    let inner =
        |start: u32, end: u32| (start.saturating_add(thickness), end.saturating_sub(thickness));
    let ((inner_left, inner_right), (inner_top, inner_bottom)) =
        (inner(left, right), inner(top, bottom));
    fill(picture, [left, top, right, inner_top.min(bottom)], colour);
    fill(picture, [left, inner_bottom.max(top), right, bottom], colour);
    fill(picture, [left, top, inner_left.min(right), bottom], colour);
    fill(picture, [inner_right.max(left), top, right, bottom], colour);
    let label = labels.get(one.class).cloned().unwrap_or_else(|| format!("#{}", one.class));
    let text = format!("{label} {:.0}%", one.score * 100.0);
    write(picture, &text, [left, top], thickness.div_ceil(2), colour);
}

/// Text above a place, or below it at the upper edge.
fn write(picture: &mut RgbImage, text: &str, [left, top]: [u32; 2], scale: u32, colour: Rgb<u8>) {
    let (line, length) = (LETTER * scale, text.chars().count() as u32 * LETTER * scale);
    let top = top.checked_sub(line + 2).unwrap_or(top);
    fill(picture, [left, top, left + length + 2, top + line + 2], colour);
    let [r, g, b] = colour.0.map(u32::from);
    let ink = if 2 * r + 5 * g + b > 1000 { Rgb([0; 3]) } else { Rgb([255; 3]) };
    for (index, letter) in (0..).zip(text.chars()) {
        let rows = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter));
        let start = left + 1 + index * LETTER * scale;
        for (y, row) in (0..).zip(rows.unwrap_or_default()) {
            for x in (0..LETTER).filter(|x| row >> x & 1 == 1) {
                let (x, y) = (start + x * scale, top + 1 + y * scale);
                fill(picture, [x, y, x + scale, y + scale], ink);
            }
        }
    }
}

/// Fills columns from `left` to `right` and rows from `top` to `bottom`, as far as there are any.
fn fill(picture: &mut RgbImage, [left, top, right, bottom]: [u32; 4], colour: Rgb<u8>) {
    let (width, height) = picture.dimensions();
    for y in top..bottom.min(height) {
        (left..right.min(width)).for_each(|x| picture.put_pixel(x, y, colour));
    }
}

/// A colour for each class: neighbours differ by the golden angle.
fn colour(class: usize) -> Rgb<u8> {
    let hue = (class as f32 * 137.508) % 360.0 / 60.0;
    let channel = |shift: f32| {
        let distance = ((hue + shift) % 6.0 - 3.0).abs();
        ((distance - 1.0).clamp(0.0, 1.0) * 255.0) as u8
    };
    Rgb([channel(0.0), channel(4.0), channel(2.0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Bounds;

    #[test]
    fn a_box_is_drawn_around_what_is_in_it() {
        let mut picture = RgbImage::new(60, 40);
        let bounds = Bounds { left: 5.0, top: 15.0, right: 30.0, bottom: 35.0 };
        draw_one(&mut picture, &Detection { class: 0, score: 0.9, bounds }, &[]);
        let red = Rgb([255, 0, 0]);
        for corner in [(5, 15), (29, 15), (5, 34), (29, 34)] {
            assert_eq!(*picture.get_pixel(corner.0, corner.1), red, "{corner:?}");
        }
        assert_eq!(*picture.get_pixel(15, 25), Rgb([0; 3]));
        assert_eq!(*picture.get_pixel(31, 25), Rgb([0; 3]));
    }

    #[test]
    fn whatever_is_drawn_stays_within_the_picture() {
        let mut picture = RgbImage::new(3, 2);
        for right in [0.0, 1.0, 3.0] {
            let bounds = Bounds { left: 0.0, top: 0.0, right, bottom: 2.0 };
            let labels = ["ähm \u{1f600} long".to_owned()];
            draw_one(&mut picture, &Detection { class: 0, score: 1.0, bounds }, &labels);
        }
    }

    #[test]
    fn neighbouring_classes_have_different_colours() {
        let colours: std::collections::HashSet<Rgb<u8>> = (0..80).map(colour).collect();
        assert_eq!(colours.len(), 80);
    }
}
