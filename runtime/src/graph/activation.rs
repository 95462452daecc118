//! Activations: what layers apply to their results, element by element.

use serde::{Deserialize, Serialize};

use super::curve::Curve;

/// Applied to every element of a layer's result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// Nothing.
    Linear,
    /// max(x, 0)
    Relu,
    /// x clamped to `min..=max`.
    Clip {
        /// Smallest result.
        min: f32,
        /// Largest result.
        max: f32,
    },
    /// x, or `slope` times x where x is negative.
    Leaky {
        /// Factor of negative values.
        slope: f32,
    },
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// x times its sigmoid.
    Silu,
    /// `alpha` x + `beta`, clamped to `0..=1`.
    HardSigmoid {
        /// Factor.
        alpha: f32,
        /// Summand.
        beta: f32,
    },
    /// x times (x / 6 + 1/2, clamped to `0..=1`).
    HardSwish,
    /// Any other function of one number.
    Curve(Curve),
}
