//! Decodes pictures, fits them into an input and lays them out channel by channel.

use std::io::Cursor;
use std::path::Path;

use edgeld_runtime::graph::Shape;
use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::error::InputError;
use super::fit::{Colours, Framing, Placement};

/// Why a picture cannot be used.
type Reason = Box<dyn std::error::Error + Send + Sync>;

/// What lies around a picture that is shown whole, as detectors were trained with.
const GRAY: u8 = 114;

/// A picture's sides are at most this long, and it takes at most so many bytes.
const MOST_PIXELS: u32 = 20_000;
const MOST_BYTES: u64 = 384 << 20;

/// Reads a png or jpeg file, fitted into `shape`.
///
/// # Errors
/// When the file cannot be read or is not a picture.
pub(super) fn read(
    path: &Path,
    shape: Shape,
    framing: Framing,
) -> Result<(Vec<u8>, Placement), InputError> {
    decode(path, &bytes(path)?, shape, framing)
}

/// Decodes a png or jpeg picture in memory, fitted into `shape`, and says where it is there.
///
/// # Errors
/// When the bytes are not a picture; `path` only appears in the message.
pub fn decode(
    path: &Path,
    bytes: &[u8],
    shape: Shape,
    framing: Framing,
) -> Result<(Vec<u8>, Placement), InputError> {
    load(bytes)
        .and_then(|picture| fit(picture, shape, framing))
        .map_err(|source| InputError::NotAPicture { path: path.to_owned(), source })
}

/// All of a png or jpeg file.
///
/// # Errors
/// When the file cannot be read or is not a picture.
pub(crate) fn open(path: &Path) -> Result<RgbImage, InputError> {
    let picture = load(&bytes(path)?);
    let picture =
        picture.map_err(|source| InputError::NotAPicture { path: path.to_owned(), source })?;
    Ok(picture.into_rgb8())
}

fn bytes(path: &Path) -> Result<Vec<u8>, InputError> {
    std::fs::read(path).map_err(|source| InputError::Unreadable { path: path.to_owned(), source })
}

fn load(bytes: &[u8]) -> Result<DynamicImage, Reason> {
    let format = image::guess_format(bytes)?;
    if format == ImageFormat::Jpeg && !has_end(bytes) {
        return Err("the file is truncated".into());
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder()?;
    // Telephones keep pictures as the sensor lay, and say how to turn them.
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// What a picture may take: a small file can claim to be a huge one.
fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_PIXELS), Some(MOST_PIXELS));
    limits.max_alloc = Some(MOST_BYTES);
    limits
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

/// Resizes (bicubic) what is kept of a picture, with sub-pixel precision, and lays it out one
/// channel after the other.
fn fit(
    picture: DynamicImage,
    shape: Shape,
    framing: Framing,
) -> Result<(Vec<u8>, Placement), Reason> {
    let picture = picture.into_rgb8();
    let (width, height) = picture.dimensions();
    let placement = framing.fit.place([width, height], [shape.width, shape.rows]);
    let [(left, columns), (top, rows)] = placement.kept;
    let options = ResizeOptions::new()
        .crop(left, top, columns, rows)
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    let picture = Image::from_vec_u8(width, height, picture.into_raw(), PixelType::U8x3)?;
    // Whole numbers, see `Fit::place`.
    let [(left, columns), (top, rows)] =
        placement.area.map(|(start, length)| (start as usize, length as u32));
    let mut fitted = Image::new(columns, rows, PixelType::U8x3);
    Resizer::new().resize(&picture, &mut fitted, &options)?;
    let (pixels, _) = fitted.buffer().as_chunks::<3>();
    let channels = match framing.colours {
        Colours::Rgb => [0, 1, 2],
        Colours::Bgr => [2, 1, 0],
    };
    let (size, width) = ((shape.rows * shape.width) as usize, shape.width as usize);
    let mut planes = vec![GRAY; 3 * size];
    for (plane, channel) in planes.chunks_exact_mut(size).zip(channels) {
        let lines = plane.chunks_exact_mut(width).skip(top);
        for (line, pixels) in lines.zip(pixels.chunks_exact(columns as usize)) {
            let line = line[left..].iter_mut();
            line.zip(pixels).for_each(|(to, pixel)| *to = pixel[channel]);
        }
    }
    Ok((planes, placement))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Fit;
    use image::Rgb;

    /// A picture whose pixels encode their column (red) and row (green).
    fn gradient(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 7])).into()
    }

    fn crop(picture: DynamicImage, shape: Shape, part: f64) -> Vec<u8> {
        fit(picture, shape, Framing { fit: Fit::Crop(part), ..Framing::default() }).unwrap().0
    }

    #[test]
    fn a_whole_picture_has_gray_around_it() {
        let framing = Framing { fit: Fit::Letterbox, colours: Colours::Bgr };
        let (pixels, _) = fit(gradient(8, 4), Shape::new(3, 8, 8), framing).unwrap();
        let (blue, red) = (&pixels[..64], &pixels[128..]);
        assert!(blue[..16].iter().chain(&blue[48..]).all(|pixel| *pixel == GRAY));
        assert!(blue[16..48].iter().all(|pixel| *pixel == 7));
        assert_eq!(red[16..24], [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn the_centre_is_kept_and_channels_are_separated() {
        let pixels = crop(gradient(20, 8), Shape::new(3, 8, 8), 1.0);
        assert_eq!(pixels.len(), 3 * 64);
        assert_eq!(pixels[..8], [6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(pixels[64], 0);
        assert_eq!(pixels[64 + 63], 7);
        assert!(pixels[128..].iter().all(|blue| *blue == 7));
    }

    #[test]
    fn crop_is_a_fraction_of_the_shorter_side() {
        let pixels = crop(gradient(8, 16), Shape::new(3, 4, 4), 0.5);
        assert_eq!(pixels[..4], [2, 3, 4, 5]);
        assert_eq!([pixels[16], pixels[31]], [6, 9]);
    }

    #[test]
    fn the_result_has_the_models_shape() {
        let pixels = crop(gradient(1, 1), Shape::new(3, 5, 7), 0.875);
        assert_eq!(pixels.len(), 3 * 5 * 7);
    }

    #[test]
    fn truncated_pictures_are_rejected() {
        // The last chunk of a png (12 bytes) holds no picture data.
        for (format, spare) in [(ImageFormat::Jpeg, 0), (ImageFormat::Png, 12)] {
            let mut file = std::io::Cursor::new(Vec::new());
            gradient(40, 30).write_to(&mut file, format).unwrap();
            let (path, file) = (Path::new("half.jpg"), file.into_inner());
            let read =
                |len: usize| decode(path, &file[..len], Shape::new(3, 8, 8), Framing::default());
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
            decode(Path::new("note.png"), b"no picture", Shape::new(3, 4, 4), Framing::default())
                .unwrap_err();
        assert!(error.to_string().contains("note.png"), "{error}");
    }
}
