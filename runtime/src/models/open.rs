//! Opens models: built-in ones by name, all others from files.

use std::path::{Path, PathBuf};

use super::model::{Model, Options};
use super::preset::{Preset, PresetError};
use super::vgg::{BUILT_IN, SpecError, Vgg};
use crate::graph::GraphError;
use crate::onnx::{self, OnnxError, OnnxModel};

/// The metadata property that names the preset for a model's pictures.
const PRESET: &str = "edgeld.preset";

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings of a built-in model are invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A built-in model of this size cannot be built.
    #[error("{spec}: {source}; choose other values of size and classes")]
    BuiltIn {
        /// The model's specification.
        spec: String,
        /// Why not.
        source: GraphError,
    },
    /// `--input-shape` was given for a built-in model of another shape.
    #[error("{spec} does not take an input of {given:?}; set its size as in vgg16?size=448")]
    InputShape {
        /// The model's specification.
        spec: String,
        /// The shape that was given.
        given: Vec<u64>,
    },
    /// A file was refused.
    #[error(transparent)]
    File(#[from] OnnxError),
    /// The file's metadata names a preset that does not exist.
    #[error("{}: metadata edgeld.preset: {source}", file.display())]
    Preset {
        /// Which file.
        file: PathBuf,
        /// The preset, and which ones exist.
        source: PresetError,
    },
}

/// Opens a model: a built-in one, such as `vgg16?size=448&seed=7&classes=10`, or a file.
///
/// # Errors
/// When there is no such model or file, or it is malformed; the message says what and where.
pub fn open(spec: &str, options: &Options) -> Result<Model, OpenError> {
    if let Some(path) = file(spec) {
        return from_file(onnx::open(path, &options.input_shapes)?);
    }
    let vgg: Vgg = spec.parse()?;
    let model =
        vgg.model().map_err(|source| OpenError::BuiltIn { spec: spec.to_owned(), source })?;
    match &options.input_shapes.any {
        Some(given) if *given != model.graph.inputs()[0].dims => {
            Err(OpenError::InputShape { spec: spec.to_owned(), given: given.clone() })
        }
        _ => Ok(model),
    }
}

/// Opens a model file that is part of the program; `name` takes the place of its path.
///
/// # Errors
/// When it is malformed; the message says what and where.
pub fn from_bytes(name: &str, bytes: &'static [u8], options: &Options) -> Result<Model, OpenError> {
    from_file(onnx::from_bytes(name, bytes, &options.input_shapes)?)
}

/// The file that a model is in; none for a built-in one.
pub(super) fn file(spec: &str) -> Option<&Path> {
    let path = Path::new(spec);
    let (name, _) = spec.split_once('?').unwrap_or((spec, ""));
    // What looks like a built-in model but is not a file is a misspelt built-in model.
    let misspelt = name.starts_with("vgg") && path.extension().is_none() && !path.exists();
    (!BUILT_IN.contains(&name) && !misspelt).then_some(path)
}

fn from_file(found: OnnxModel) -> Result<Model, OpenError> {
    let OnnxModel { graph, weights, metadata, file } = found;
    let preset = match (metadata.get(PRESET), metadata.get("author").map(String::as_str)) {
        (Some(name), _) => Some(name.parse()),
        (None, Some("Ultralytics")) => Some(Ok(Preset::Unit)),
        (None, _) => None,
    };
    match preset.transpose() {
        Ok(preset) => {
            Ok(Model { graph, weights, preset, metadata, source: file.display().to_string() })
        }
        Err(source) => Err(OpenError::Preset { file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::InputShapes;

    fn refusal(spec: &str, shape: Option<&[u64]>) -> String {
        let input_shapes = shape.map(InputShapes::of).unwrap_or_default();
        open(spec, &Options { input_shapes }).unwrap_err().to_string()
    }

    #[test]
    fn refusals_say_what_to_try() {
        assert!(refusal("vgg17", None).contains("there are vgg11, vgg13, vgg16 and vgg19"));
        assert!(refusal("vgg17.onnx", None).contains("a model is an .onnx file or one of vgg11"));
        assert!(refusal("vgg16?size=4096", None).contains("choose other values of size"));
        assert_eq!(
            refusal("vgg16", Some(&[1, 3, 448, 448])),
            "vgg16 does not take an input of [1, 3, 448, 448]; set its size as in vgg16?size=448"
        );
    }

    #[test]
    fn the_own_shape_of_a_built_in_may_be_given() {
        let options = Options { input_shapes: InputShapes::of(&[1, 3, 64, 64]) };
        assert!(open("vgg16?size=64", &options).is_ok());
    }
}
