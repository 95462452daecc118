//! Where an input comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use edgeld_runtime::graph::{Port, Shape};

use super::error::InputError;
use super::fit::{Framing, Placement};
use super::{npy, picture, random};
use crate::api::Input;

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A png or jpeg file.
    Picture(PathBuf),
    /// An `.npy` file.
    Array(PathBuf),
    /// Generated from a seed: pixels for a model that takes pictures, else normally distributed.
    Random(u64),
}

impl FromStr for Origin {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Origin, InputError> {
        if let Some(seed) = text.strip_prefix("random:") {
            let seed = seed.parse().map_err(|_| InputError::Seed(seed.to_owned()))?;
            return Ok(Origin::Random(seed));
        }
        let path = PathBuf::from(text);
        let is_array = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("npy"));
        Ok(if is_array { Origin::Array(path) } else { Origin::Picture(path) })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Picture(path) | Origin::Array(path) => write!(f, "{}", path.display()),
            Origin::Random(seed) => write!(f, "random:{seed}"),
        }
    }
}

impl Origin {
    /// Whether it yields pixels for this port: pictures do, and so do random numbers if the port
    /// takes pictures.
    pub fn is_pixels(&self, port: &Port, shape: Shape) -> bool {
        match self {
            Origin::Picture(_) => true,
            Origin::Array(_) => false,
            Origin::Random(_) => picture_shape(port, shape).is_some(),
        }
    }

    /// Reads it for a port whose tensor has `shape`, and says where it is there if it is a picture.
    /// Pixels are channel by channel even if the port takes [channels last](super::channels_last).
    ///
    /// # Errors
    /// When the file cannot be read, is malformed, or does not fit the model.
    pub fn read(
        &self,
        port: &Port,
        shape: Shape,
        framing: Framing,
    ) -> Result<(Input, Option<Placement>), InputError> {
        let elements = shape.elements() as usize;
        let picture_shape = picture_shape(port, shape);
        let input = match self {
            Origin::Picture(path) => {
                let dims = || port.dims.clone();
                let shape = picture_shape
                    .ok_or_else(|| InputError::NoPictures { path: path.clone(), dims: dims() })?;
                let (pixels, placement) = picture::read(path, shape, framing)?;
                return Ok((Input::from(pixels), Some(placement)));
            }
            Origin::Array(path) => Input::from(npy::read(path, &port.dims)?),
            Origin::Random(seed) if picture_shape.is_some() => {
                Input::from(random::pixels(*seed, elements))
            }
            Origin::Random(seed) => Input::from(random::normal(*seed, elements)),
        };
        Ok((input, None))
    }
}

/// Whether a port takes pictures: a batch of one, with three channels.
pub fn takes_pictures(port: &Port, shape: Shape) -> bool {
    port.dims.len() == 4 && port.dims[0] == 1 && shape.channels == 3
}

/// Whether a port takes pictures with the three channels of each pixel side by side, as files from
/// TensorFlow do.
pub fn takes_channels_last(port: &Port) -> bool {
    matches!(port.dims[..], [1, rows, _, 3] if rows != 3)
}

/// The channels, rows and width of the pictures that a port takes, if it takes any.
pub fn picture_shape(port: &Port, shape: Shape) -> Option<Shape> {
    match port.dims[..] {
        _ if takes_pictures(port, shape) => Some(shape),
        // Bounded by 2^30 elements, as all tensors are.
        [1, rows, width, 3] => Some(Shape::new(3, rows as u32, width as u32)),
        _ => None,
    }
}

/// Reads class labels, one per line.
///
/// # Errors
/// When the file cannot be read or is not UTF-8.
pub fn read_labels(path: &Path) -> Result<Vec<String>, InputError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| InputError::Unreadable { path: path.to_owned(), source })?;
    Ok(text.lines().map(|line| line.trim_end().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeld_runtime::graph::TensorId;

    fn port(dims: &[u64]) -> Port {
        Port { name: "x".into(), tensor: TensorId(0), dims: dims.to_vec() }
    }

    #[test]
    fn origins_are_parsed_by_prefix_and_extension() {
        let source = |text: &str| text.parse::<Origin>();
        assert_eq!(source("random:7").unwrap(), Origin::Random(7));
        assert_eq!(source("a/B.NPY").unwrap(), Origin::Array("a/B.NPY".into()));
        assert_eq!(source("cat.png").unwrap(), Origin::Picture("cat.png".into()));
        assert!(source("random:-1").unwrap_err().to_string().contains("random:7"));
    }

    #[test]
    fn random_is_pixels_only_for_models_of_pictures() {
        let read = |dims: &[u64], shape| {
            Origin::Random(1).read(&port(dims), shape, Framing::default()).unwrap().0
        };
        let image = read(&[1, 3, 4, 4], Shape::new(3, 4, 4));
        assert!(matches!(image, Input::Pixels(pixels) if pixels.len() == 48));
        let vector = read(&[1, 3], Shape::vector(3));
        assert!(matches!(vector, Input::Values(values) if values.len() == 3));
    }

    #[test]
    fn pictures_may_have_their_channels_last() {
        let last = port(&[1, 8, 6, 3]);
        let shape = Shape::new(8, 6, 3);
        assert_eq!(picture_shape(&last, shape), Some(Shape::new(3, 8, 6)));
        assert!(!takes_pictures(&last, shape) && takes_channels_last(&last));
        let (image, _) = Origin::Random(1).read(&last, shape, Framing::default()).unwrap();
        assert!(matches!(image, Input::Pixels(pixels) if pixels.len() == 144));
    }

    #[test]
    fn a_picture_for_a_model_of_vectors_is_rejected() {
        let source = Origin::Picture("cat.png".into());
        let framing = Framing::default();
        let error = source.read(&port(&[1, 3]), Shape::vector(3), framing).unwrap_err();
        assert!(error.to_string().contains("[1, 3]"), "{error}");
    }
}
