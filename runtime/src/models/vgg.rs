//! The VGG networks (Simonyan and Zisserman 2015) with seeded weights.
//!
//! Blocks of 3x3 convolutions, each followed by a 2x2 pool, then three dense layers; the output is
//! logits. VGG16 at 224x224 takes 30.9 GFLOP and has 553 MB of weights.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use super::model::Model;
use super::preset::Preset;
use super::seeded::SeededWeights;
use crate::graph::{
    Activation, Builder, Conv, DType, Graph, GraphError, Op, Parameter, Pool, Reduction, Shape,
    Sweep, TensorId, Window,
};

/// Names of all built-in models.
pub(crate) const BUILT_IN: [&str; 4] = ["vgg11", "vgg13", "vgg16", "vgg19"];

/// Convolutions of each block, by number of layers with weights.
const DEPTHS: [(u32, [u32; 5]); 4] =
    [(11, [1, 1, 2, 2, 2]), (13, [2, 2, 2, 2, 2]), (16, [2, 2, 3, 3, 3]), (19, [2, 2, 4, 4, 4])];

/// Channels of each block.
const CHANNELS: [u32; 5] = [64, 128, 256, 512, 512];

/// Features of the dense layers before the last.
const HIDDEN: u32 = 4096;

/// A VGG network: `vgg16?size=448&seed=7&classes=10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vgg {
    depth: u32,
    convs: [u32; 5],
    size: u32,
    seed: u64,
    classes: u32,
    dense: bool,
}

/// Why a built-in model's specification was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No built-in model of that name.
    #[error("there is no built-in model {0:?}; there are vgg11, vgg13, vgg16 and vgg19")]
    Unknown(String),
    /// A setting that is not of the form `key=value`.
    #[error("{spec}: {part:?} is not a setting; write {example}", example = EXAMPLE)]
    Setting {
        /// The specification.
        spec: String,
        /// The invalid part.
        part: String,
    },
    /// A key that does not exist.
    #[error("{spec}: there is no setting {key:?}; there are size, seed and classes")]
    Key {
        /// The specification.
        spec: String,
        /// The unknown key.
        key: String,
    },
    /// A value that is out of range or not a number.
    #[error("{spec}: {key}={value:?} must be a whole number{at_least}")]
    Value {
        /// The specification.
        spec: String,
        /// Which setting.
        key: String,
        /// Its value.
        value: String,
        /// Its lower bound, in words.
        at_least: &'static str,
    },
}

const EXAMPLE: &str = "vgg16?size=448&seed=7&classes=10";

impl Vgg {
    /// The network with `depth` layers that have weights (11, 13, 16 or 19), for 224x224 pixels and
    /// 1000 classes, with seed 0.
    pub fn new(depth: u32) -> Option<Vgg> {
        let (_, convs) = DEPTHS.into_iter().find(|entry| entry.0 == depth)?;
        Some(Vgg { depth, convs, size: 224, seed: 0, classes: 1000, dense: true })
    }

    /// Sets the side of the square input in pixels; at least 32.
    #[must_use]
    pub fn size(self, size: u32) -> Vgg {
        Vgg { size, ..self }
    }

    /// Sets the seed of the weights.
    #[must_use]
    pub(crate) fn seed(self, seed: u64) -> Vgg {
        Vgg { seed, ..self }
    }

    /// Sets the number of classes.
    #[must_use]
    pub fn classes(self, classes: u32) -> Vgg {
        Vgg { classes, ..self }
    }

    /// The network up to its last pooling, without the dense layers: nine tenths of the weights less.
    #[must_use]
    pub fn without_dense(self) -> Vgg {
        Vgg { dense: false, ..self }
    }

    /// The network with weights.
    ///
    /// # Errors
    /// When the input is smaller than 32 pixels or the network is too large.
    pub fn model(&self) -> Result<Model, GraphError> {
        let graph = Arc::new(self.graph()?);
        Ok(Model {
            weights: Arc::new(SeededWeights::new(Arc::clone(&graph), self.seed)),
            graph,
            preset: Some(Preset::Imagenet),
            metadata: BTreeMap::new(),
            source: "built-in".to_owned(),
        })
    }

    /// The network without weights.
    ///
    /// # Errors
    /// When the input is smaller than 32 pixels or the network is too large.
    pub(crate) fn graph(&self) -> Result<Graph, GraphError> {
        let size = u64::from(self.size);
        let mut net = Builder::new(&format!("vgg{}", self.depth));
        let mut x =
            net.input("input", Shape::new(3, self.size, self.size), vec![1, 3, size, size])?;
        let three = Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() };
        let halve = Window::square(Sweep { kernel: 2, stride: 2, ..Sweep::point() });
        for (block, (channels, convs)) in (1..).zip(CHANNELS.into_iter().zip(self.convs)) {
            for conv in 1..=convs {
                let name = format!("conv{block}_{conv}");
                let window = Window::square(three);
                x = layer(&mut net, &name, x, channels, window, Activation::Relu)?;
            }
            let pool = Op::Pool(Pool { reduction: Reduction::Max, window: halve });
            x = net.layer(&format!("pool{block}"), pool, &[x], Activation::Linear)?;
        }
        let map = net.shape(x);
        if !self.dense {
            let dims = [1, map.channels, map.rows, map.width].map(u64::from);
            net.output("features", x, dims.to_vec())?;
            return net.finish();
        }
        let whole = Window::whole(map.rows, map.width);
        x = layer(&mut net, "fc6", x, HIDDEN, whole, Activation::Relu)?;
        x = layer(&mut net, "fc7", x, HIDDEN, Window::point(), Activation::Relu)?;
        x = layer(&mut net, "fc8", x, self.classes, Window::point(), Activation::Linear)?;
        net.output("logits", x, vec![1, u64::from(self.classes)])?;
        net.finish()
    }
}

/// A convolution or dense layer with a bias.
fn layer(
    net: &mut Builder,
    name: &str,
    input: TensorId,
    features: u32,
    window: Window,
    activation: Activation,
) -> Result<TensorId, GraphError> {
    let row = u64::from(net.shape(input).channels) * window.cells();
    let row = u32::try_from(row).unwrap_or(u32::MAX);
    let mut parameter = |part: &str, row| {
        let name = format!("{name}/{part}");
        net.parameter(Parameter { name, features, row, dtype: DType::F32 })
    };
    let (weight, bias) = (parameter("weight", row)?, parameter("bias", 1)?);
    let conv = Conv { features, groups: 1, window, weight, scale: None, bias: Some(bias) };
    net.layer(name, Op::Conv(conv), &[input], activation)
}

impl FromStr for Vgg {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Vgg, SpecError> {
        let (name, settings) = spec.split_once('?').unwrap_or((spec, ""));
        let depth = name.strip_prefix("vgg").and_then(|depth| depth.parse().ok());
        let vgg = depth.and_then(Vgg::new).ok_or_else(|| SpecError::Unknown(name.to_owned()))?;
        settings.split('&').filter(|part| !part.is_empty()).try_fold(vgg, |vgg, part| {
            let owned = |text: &str| text.to_owned();
            let Some((key, value)) = part.split_once('=') else {
                return Err(SpecError::Setting { spec: owned(spec), part: owned(part) });
            };
            let refused = |at_least| SpecError::Value {
                spec: owned(spec),
                key: owned(key),
                value: owned(value),
                at_least,
            };
            let at_least = |least: u32, words| {
                value.parse().ok().filter(|number| *number >= least).ok_or_else(|| refused(words))
            };
            match key {
                "size" => Ok(vgg.size(at_least(32, " of at least 32")?)),
                "classes" => Ok(vgg.classes(at_least(1, " of at least 1")?)),
                "seed" => Ok(vgg.seed(value.parse().map_err(|_| refused(""))?)),
                _ => Err(SpecError::Key { spec: owned(spec), key: owned(key) }),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_dense_layers_it_ends_with_the_last_pooling() {
        let graph = Vgg::new(16).unwrap().without_dense().graph().unwrap();
        assert_eq!(graph.layers().len(), 13 + 5);
        assert_eq!(graph.outputs()[0].dims, [1, 512, 7, 7]);
    }

    #[test]
    fn vgg16_has_its_published_size() {
        let graph = Vgg::new(16).unwrap().graph().unwrap();
        let elements: u64 = graph.parameters().iter().map(|p| p.bytes() / 4).sum();
        assert_eq!(elements, 138_357_544);
        assert_eq!(graph.layers().len(), 21);
    }

    #[test]
    fn all_built_in_models_take_any_size() {
        for name in BUILT_IN {
            for size in [32, 33, 448] {
                let vgg: Vgg = format!("{name}?size={size}&classes=10").parse().unwrap();
                let graph = vgg.graph().unwrap();
                assert_eq!(graph.shape(graph.outputs()[0].tensor), Shape::vector(10), "{name}");
            }
        }
    }

    #[test]
    fn settings_are_read() {
        let vgg: Vgg = "vgg13?size=448&seed=7&classes=10".parse().unwrap();
        assert_eq!(vgg, Vgg::new(13).unwrap().size(448).seed(7).classes(10));
        assert_eq!("vgg13".parse(), Ok(Vgg::new(13).unwrap()));
    }

    #[test]
    fn errors_name_what_is_wrong_and_what_is_right() {
        let message = |spec: &str| spec.parse::<Vgg>().unwrap_err().to_string();
        assert_eq!(
            message("vgg12"),
            r#"there is no built-in model "vgg12"; there are vgg11, vgg13, vgg16 and vgg19"#
        );
        assert_eq!(
            message("vgg16?size=31"),
            r#"vgg16?size=31: size="31" must be a whole number of at least 32"#
        );
        assert_eq!(
            message("vgg16?sise=64"),
            r#"vgg16?sise=64: there is no setting "sise"; there are size, seed and classes"#
        );
        assert!(message("vgg16?size").contains("write vgg16?size=448&seed=7&classes=10"));
        assert!(message("vgg16?seed=-1").contains("must be a whole number"));
    }

    #[test]
    fn a_network_too_large_is_refused() {
        assert!(Vgg::new(16).unwrap().size(100_000).graph().is_err());
        assert!(Vgg::new(16).unwrap().size(1024).graph().is_err());
    }
}
