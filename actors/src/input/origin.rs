//! Where an input comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use edgeld_runtime::graph::{Port, Shape};

use super::error::InputError;
use super::{npy, picture, random};
use crate::api::Input;

/// Default fraction of a picture's shorter side that is kept.
pub const DEFAULT_CROP: f64 = 0.875;

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
            Origin::Random(_) => takes_pictures(port, shape),
        }
    }

    /// Reads it for a port whose tensor has `shape`; `crop` is the fraction of a picture's shorter
    /// side that is kept.
    ///
    /// # Errors
    /// When the file cannot be read, is malformed, or does not fit the model.
    pub fn read(&self, port: &Port, shape: Shape, crop: f64) -> Result<Input, InputError> {
        let elements = shape.elements() as usize;
        Ok(match self {
            Origin::Picture(path) if !takes_pictures(port, shape) => {
                let dims = port.dims.clone();
                return Err(InputError::NoPictures { path: path.clone(), dims });
            }
            Origin::Picture(path) => Input::from(picture::read(path, shape, crop)?),
            Origin::Array(path) => Input::from(npy::read(path, &port.dims)?),
            Origin::Random(seed) if takes_pictures(port, shape) => {
                Input::from(random::pixels(*seed, elements))
            }
            Origin::Random(seed) => Input::from(random::normal(*seed, elements)),
        })
    }
}

/// Whether a port takes pictures: a batch of one, with three channels.
pub fn takes_pictures(port: &Port, shape: Shape) -> bool {
    port.dims.len() == 4 && shape.channels == 3
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
        let image = Origin::Random(1).read(&port(&[1, 3, 4, 4]), Shape::new(3, 4, 4), 1.0).unwrap();
        assert!(matches!(image, Input::Pixels(pixels) if pixels.len() == 48));
        let vector = Origin::Random(1).read(&port(&[1, 3]), Shape::vector(3), 1.0).unwrap();
        assert!(matches!(vector, Input::Values(values) if values.len() == 3));
    }

    #[test]
    fn a_picture_for_a_model_of_vectors_is_rejected() {
        let source = Origin::Picture("cat.png".into());
        let error = source.read(&port(&[1, 3]), Shape::vector(3), 1.0).unwrap_err();
        assert!(error.to_string().contains("[1, 3]"), "{error}");
    }
}
