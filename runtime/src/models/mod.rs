//! Models: built-in networks with seeded weights, and files.
//!
//! A model is a graph, a source of its weights, and how pictures are prepared for it. Nothing is
//! read of the weights when a model is opened: a [`WeightSource`] gives out rows when asked.
//!
//! ```
//! use edgeld_runtime::graph::Shape;
//! use edgeld_runtime::models::{self, Options};
//! let model = models::open("vgg16?size=64&classes=10", &Options::default()).unwrap();
//! assert_eq!(model.graph.shape(model.graph.outputs()[0].tensor), Shape::vector(10));
//! ```

mod preset;
mod seeded;
mod vgg;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use preset::{Preset, PresetError};
pub use seeded::SeededWeights;
pub use vgg::{BUILT_IN, SpecError, Vgg};

use crate::graph::{Graph, GraphError};
use crate::onnx::{self, OnnxError};
use crate::weights::WeightSource;

/// A model that can be run.
#[derive(Clone)]
pub struct Model {
    /// What it computes.
    pub graph: Arc<Graph>,
    /// Where its weights are.
    pub weights: Arc<dyn WeightSource>,
    /// How its pictures are prepared, where that is known.
    pub preset: Option<Preset>,
    /// Where it came from: a path, or `built-in`.
    pub source: String,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} from {})", self.graph.name(), self.source)
    }
}

/// What a caller may say about a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// Fixes the dynamic dimensions of the model's inputs: `[1, 3, 224, 224]`.
    pub input_shape: Option<Vec<u64>>,
}

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A built-in model's parameters make no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A built-in model of that size cannot be built.
    #[error("{spec}: {source}; choose other values of size and classes")]
    BuiltIn {
        /// What was asked for.
        spec: String,
        /// Why not.
        source: GraphError,
    },
    /// `--input-shape` for a built-in model that has another shape.
    #[error("{spec} does not take an input of {given:?}; set its size as in vgg16?size=448")]
    InputShape {
        /// What was asked for.
        spec: String,
        /// The shape that was given.
        given: Vec<u64>,
    },
    /// A file was refused.
    #[error(transparent)]
    File(#[from] OnnxError),
}

/// Opens a model: a built-in one, `vgg16?size=448&seed=7&classes=10`, or else a file.
///
/// # Errors
/// When there is no such model or file, or it is malformed; the message names what and where.
pub fn open(spec: &str, options: &Options) -> Result<Model, OpenError> {
    let path = Path::new(spec);
    let (name, _) = spec.split_once('?').unwrap_or((spec, ""));
    // What looks like a built-in and is no file is a misspelt built-in.
    let misspelt = name.starts_with("vgg") && path.extension().is_none() && !path.exists();
    if !BUILT_IN.contains(&name) && !misspelt {
        return Ok(onnx::open(path, options)?);
    }
    let vgg: Vgg = spec.parse()?;
    let model =
        vgg.model().map_err(|source| OpenError::BuiltIn { spec: spec.to_owned(), source })?;
    match &options.input_shape {
        Some(given) if *given != model.graph.inputs()[0].dims => {
            Err(OpenError::InputShape { spec: spec.to_owned(), given: given.clone() })
        }
        _ => Ok(model),
    }
}

/// Opens a model file that is part of the program; `name` stands for its path.
///
/// # Errors
/// When it is malformed; the message names what and where.
pub fn from_bytes(name: &str, bytes: &'static [u8], options: &Options) -> Result<Model, OpenError> {
    Ok(onnx::from_bytes(name, bytes, options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(spec: &str, input_shape: Option<Vec<u64>>) -> String {
        open(spec, &Options { input_shape }).unwrap_err().to_string()
    }

    #[test]
    fn refusals_say_what_to_try() {
        assert!(refusal("vgg17", None).contains("there are vgg11, vgg13, vgg16 and vgg19"));
        assert!(refusal("vgg17.onnx", None).contains("a model is an .onnx file or one of vgg11"));
        assert!(refusal("vgg16?size=4096", None).contains("choose other values of size"));
        assert_eq!(
            refusal("vgg16", Some(vec![1, 3, 448, 448])),
            "vgg16 does not take an input of [1, 3, 448, 448]; set its size as in vgg16?size=448"
        );
    }

    #[test]
    fn the_shape_that_a_built_in_has_anyway_may_be_given() {
        let options = Options { input_shape: Some(vec![1, 3, 64, 64]) };
        assert!(open("vgg16?size=64", &options).is_ok());
    }
}
