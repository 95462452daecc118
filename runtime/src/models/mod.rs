//! Models: built-in networks with seeded weights, and ONNX files.
//!
//! A model is a graph, a source of weights, and how pictures are prepared for it. Opening a model
//! does not read its weights: a [`WeightSource`](crate::weights::WeightSource) supplies rows when
//! asked.
//!
//! ```
//! use edgeld_runtime::graph::Shape;
//! use edgeld_runtime::models::{self, Options};
//! let model = models::open("vgg16?size=64&classes=10", &Options::default()).unwrap();
//! assert_eq!(model.graph.shape(model.graph.outputs()[0].tensor), Shape::vector(10));
//! ```

mod inspect;
mod model;
mod open;
mod preset;
mod seeded;
mod vgg;

pub use inspect::inspect;
pub use model::{Model, Options};
pub use open::{OpenError, from_bytes, open};
pub use preset::{Preset, PresetError};
pub use seeded::SeededWeights;
pub use vgg::{SpecError, Vgg};
