//! How the pixels of a picture become a model's input.

use std::fmt;
use std::str::FromStr;

use crate::program::Encoding;

/// A named pair of mean and standard deviation, in the 0-255 scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// The statistics of ImageNet; torchvision's networks.
    Imagenet,
    /// (pixel - 127) / 128; the EfficientNet-Lite family.
    Lite,
    /// pixel / 255
    Unit,
    /// The pixels themselves.
    Raw,
}

impl Preset {
    /// All of them.
    pub(crate) const ALL: [Preset; 4] = [Preset::Imagenet, Preset::Lite, Preset::Unit, Preset::Raw];

    /// Its name on the command line and in the metadata of model files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Preset::Imagenet => "imagenet",
            Preset::Lite => "lite",
            Preset::Unit => "unit",
            Preset::Raw => "none",
        }
    }

    /// How pictures travel, and how they are normalised on arrival.
    pub const fn encoding(self) -> Encoding {
        let (mean, std) = match self {
            Preset::Imagenet => ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
            Preset::Lite => ([127.0; 3], [128.0; 3]),
            Preset::Unit => ([0.0; 3], [255.0; 3]),
            Preset::Raw => ([0.0; 3], [1.0; 3]),
        };
        Encoding::Pixels { mean, std }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A preset that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no preset {0:?}; there are imagenet, lite, unit and none")]
pub struct PresetError(pub String);

impl FromStr for Preset {
    type Err = PresetError;

    fn from_str(name: &str) -> Result<Preset, PresetError> {
        let found = Preset::ALL.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| PresetError(name.to_owned()))
    }
}
