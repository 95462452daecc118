//! Decodes pictures, crops the centre square, resizes it and lays it out channel by channel.

use std::path::Path;

use edgeld_runtime::graph::Shape;
use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageFormat};

use super::error::InputError;

/// Why a picture cannot be used.
type Reason = Box<dyn std::error::Error + Send + Sync>;

/// Reads the centre square of a png or jpeg file, resized to `shape`.
///
/// # Errors
/// When the file cannot be read or is not a picture.
pub(super) fn read(path: &Path, shape: Shape, crop: f64) -> Result<Vec<u8>, InputError> {
    let bytes = std::fs::read(path)
        .map_err(|source| InputError::Unreadable { path: path.to_owned(), source })?;
    decode(path, &bytes, shape, crop)
}

/// Decodes the centre square of a png or jpeg picture in memory, resized to `shape`.
///
/// # Errors
/// When the bytes are not a picture; `path` only appears in the message.
pub fn decode(path: &Path, bytes: &[u8], shape: Shape, crop: f64) -> Result<Vec<u8>, InputError> {
    load(bytes)
        .and_then(|picture| fit(picture, shape, crop))
        .map_err(|source| InputError::NotAPicture { path: path.to_owned(), source })
}

fn load(bytes: &[u8]) -> Result<DynamicImage, Reason> {
    let format = image::guess_format(bytes)?;
    if format == ImageFormat::Jpeg && !has_end(bytes) {
        return Err("the file is truncated".into());
    }
    Ok(image::load_from_memory_with_format(bytes, format)?)
}

/// Whether a jpeg file contains its end-of-image marker. The decoder would fill in the missing part
/// of a truncated file with gray.
fn has_end(jpeg: &[u8]) -> bool {
    // After the first marker come segments: a marker, then a length that counts itself.
    let mut rest = jpeg.get(2..).unwrap_or_default();
    loop {
        rest = match rest {
            [0xff, 0xff, ..] => &rest[1..],
            // Start of scan: in the data that follows, these two bytes can only be the end marker.
            [0xff, 0xda, data @ ..] => return data.windows(2).any(|pair| pair == [0xff, 0xd9]),
            [0xff, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low])) + 2;
                rest.get(length..).unwrap_or_default()
            }
            _ => return false,
        };
    }
}

/// Crops a centred square of `crop` times the shorter side (with sub-pixel precision) and resizes
/// it (bicubic) to the rows and width of `shape`; RGB, one channel after the other.
fn fit(picture: DynamicImage, shape: Shape, crop: f64) -> Result<Vec<u8>, Reason> {
    let picture = picture.into_rgb8();
    let (width, height) = picture.dimensions();
    let side = f64::from(width.min(height)) * crop;
    let (left, top) = ((f64::from(width) - side) / 2.0, (f64::from(height) - side) / 2.0);
    let options = ResizeOptions::new()
        .crop(left, top, side, side)
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    let picture = Image::from_vec_u8(width, height, picture.into_raw(), PixelType::U8x3)?;
    let mut fitted = Image::new(shape.width, shape.rows, PixelType::U8x3);
    Resizer::new().resize(&picture, &mut fitted, &options)?;
    let (pixels, _) = fitted.buffer().as_chunks::<3>();
    Ok((0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    /// A picture whose pixels encode their column (red) and row (green).
    fn gradient(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 7])).into()
    }

    #[test]
    fn the_centre_is_kept_and_channels_are_separated() {
        let pixels = fit(gradient(20, 8), Shape::new(3, 8, 8), 1.0).unwrap();
        assert_eq!(pixels.len(), 3 * 64);
        assert_eq!(pixels[..8], [6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(pixels[64], 0);
        assert_eq!(pixels[64 + 63], 7);
        assert!(pixels[128..].iter().all(|blue| *blue == 7));
    }

    #[test]
    fn crop_is_a_fraction_of_the_shorter_side() {
        let pixels = fit(gradient(8, 16), Shape::new(3, 4, 4), 0.5).unwrap();
        assert_eq!(pixels[..4], [2, 3, 4, 5]);
        assert_eq!([pixels[16], pixels[31]], [6, 9]);
    }

    #[test]
    fn the_result_has_the_models_shape() {
        let pixels = fit(gradient(1, 1), Shape::new(3, 5, 7), 0.875).unwrap();
        assert_eq!(pixels.len(), 3 * 5 * 7);
    }

    #[test]
    fn truncated_pictures_are_rejected() {
        // The last chunk of a png (12 bytes) holds no picture data.
        for (format, spare) in [(ImageFormat::Jpeg, 0), (ImageFormat::Png, 12)] {
            let mut file = std::io::Cursor::new(Vec::new());
            gradient(40, 30).write_to(&mut file, format).unwrap();
            let (path, file) = (Path::new("half.jpg"), file.into_inner());
            let read = |len: usize| decode(path, &file[..len], Shape::new(3, 8, 8), 1.0);
            assert!(read(file.len()).is_ok(), "{format:?}");
            let first_whole = (0..=file.len()).find(|len| read(*len).is_ok()).unwrap();
            assert!(
                file.len() - first_whole <= spare,
                "{format:?}: {first_whole} of {}",
                file.len()
            );
        }
    }

    #[test]
    fn the_error_names_the_file() {
        let error =
            decode(Path::new("note.png"), b"no picture", Shape::new(3, 4, 4), 0.875).unwrap_err();
        assert!(error.to_string().contains("note.png"), "{error}");
    }
}
