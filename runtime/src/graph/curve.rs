//! Functions of one number that files hold now and then: the long tail of activations.
//!
//! They are computed one element at a time. What networks spend their time in is an
//! [`Activation`](super::Activation) of its own, computed a vector at a time. Functions that a
//! machine's C library would compute come from `libm` instead, so that every device gives the same
//! bits.
//!
//! ```
//! use edgeld_runtime::graph::Curve;
//! assert_eq!(Curve::Floor.of(-1.5), -2.0);
//! assert!((Curve::Gelu { tanh: false }.of(1.0) - 0.841_345).abs() < 1e-6);
//! ```

use serde::{Deserialize, Serialize};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Curve {
    /// |x|
    Abs,
    /// -x
    Neg,
    /// e^x
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root.
    Sqrt,
    /// 1 / x
    Reciprocal,
    /// The error function.
    Erf,
    /// The sine.
    Sin,
    /// The cosine.
    Cos,
    /// The tangent.
    Tan,
    /// The inverse of the sine.
    Asin,
    /// The inverse of the cosine.
    Acos,
    /// The inverse of the tangent.
    Atan,
    /// The hyperbolic sine.
    Sinh,
    /// The hyperbolic cosine.
    Cosh,
    /// The hyperbolic tangent.
    Tanh,
    /// The inverse of the hyperbolic sine.
    Asinh,
    /// The inverse of the hyperbolic cosine.
    Acosh,
    /// The inverse of the hyperbolic tangent.
    Atanh,
    /// The next integer below.
    Floor,
    /// The next integer above.
    Ceil,
    /// The nearest integer; of two, the even one.
    Round,
    /// The integer next to x on the side of 0: a cast to integers.
    Trunc,
    /// -1, 0 or 1.
    Sign,
    /// 1 if x is 0, else 0.
    Not,
    /// 1 if x is not 0, else 0: a cast to truths.
    Truth,
    /// The nearest number of bfloat16: a cast to it.
    Bf16,
    /// 1 if x is not a number, else 0.
    IsNan,
    /// 1 if x is infinite, else 0.
    IsInf {
        /// Whether the negative infinity counts.
        negative: bool,
        /// Whether the positive infinity counts.
        positive: bool,
    },
    /// x times the normal distribution's share below x.
    Gelu {
        /// Whether that share is approximated by a hyperbolic tangent.
        tanh: bool,
    },
    /// ln (1 + e^x)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// x tanh (softplus x)
    Mish,
    /// x, or `alpha` (e^x - 1) where x is negative; all of that times `gamma`.
    Elu {
        /// Factor of negative results.
        alpha: f32,
        /// Factor of all results.
        gamma: f32,
    },
    /// x, or `alpha` (e^(x / alpha) - 1) where x is negative.
    Celu {
        /// Scale of negative values.
        alpha: f32,
    },
    /// x where it is above `alpha`, else 0.
    Thresholded {
        /// The largest value that becomes 0.
        alpha: f32,
    },
    /// x moved by `bias` towards 0 where it is further than `lambda` from it, else 0.
    Shrink {
        /// How far.
        bias: f32,
        /// The largest distance that becomes 0.
        lambda: f32,
    },
}

impl Curve {
    /// The value at x.
    pub fn of(self, x: f32) -> f32 {
        let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
        match self {
            Curve::Abs => x.abs(),
            Curve::Neg => -x,
            Curve::Exp => libm::expf(x),
            Curve::Log => libm::logf(x),
            Curve::Sqrt => x.sqrt(),
            Curve::Reciprocal => 1.0 / x,
            Curve::Erf => libm::erff(x),
            Curve::Sin => libm::sinf(x),
            Curve::Cos => libm::cosf(x),
            Curve::Tan => libm::tanf(x),
            Curve::Asin => libm::asinf(x),
            Curve::Acos => libm::acosf(x),
            Curve::Atan => libm::atanf(x),
            Curve::Sinh => libm::sinhf(x),
            Curve::Cosh => libm::coshf(x),
            Curve::Tanh => libm::tanhf(x),
            Curve::Asinh => libm::asinhf(x),
            Curve::Acosh => libm::acoshf(x),
            Curve::Atanh => libm::atanhf(x),
            Curve::Floor => x.floor(),
            Curve::Ceil => x.ceil(),
            Curve::Round => x.round_ties_even(),
            Curve::Trunc => x.trunc(),
            Curve::Sign if x == 0.0 => 0.0,
            Curve::Sign => x.signum(),
            Curve::Not => truth(x == 0.0),
            Curve::Truth => truth(x != 0.0),
            Curve::Bf16 => half::bf16::from_f32(x).to_f32(),
            Curve::IsNan => truth(x.is_nan()),
            Curve::IsInf { negative, positive } => {
                truth(x == f32::INFINITY && positive || x == f32::NEG_INFINITY && negative)
            }
            Curve::Gelu { tanh: false } => {
                0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
            }
            Curve::Gelu { tanh: true } => {
                let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                0.5 * x * (1.0 + libm::tanhf(inner))
            }
            Curve::Softplus => softplus(x),
            Curve::Softsign => x / (1.0 + x.abs()),
            Curve::Mish => x * libm::tanhf(softplus(x)),
            Curve::Elu { alpha, gamma } if x < 0.0 => gamma * alpha * libm::expm1f(x),
            Curve::Elu { gamma, .. } => gamma * x,
            Curve::Celu { alpha } if x < 0.0 => alpha * libm::expm1f(x / alpha),
            Curve::Celu { .. } => x,
            Curve::Thresholded { alpha } if x > alpha => x,
            Curve::Thresholded { .. } => 0.0,
            Curve::Shrink { bias, lambda } if x < -lambda => x + bias,
            Curve::Shrink { bias, lambda } if x > lambda => x - bias,
            Curve::Shrink { .. } => 0.0,
        }
    }
}

/// Without overflow for large x.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + libm::log1pf(libm::expf(-x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even_and_casts_towards_zero() {
        assert_eq!([0.5, 1.5, -2.5].map(|x| Curve::Round.of(x)), [0.0, 2.0, -2.0]);
        assert_eq!([0.5, 1.5, -2.5].map(|x| Curve::Trunc.of(x)), [0.0, 1.0, -2.0]);
    }

    #[test]
    fn a_softplus_is_finite_wherever_its_argument_is() {
        assert_eq!(Curve::Softplus.of(1000.0), 1000.0);
        assert_eq!(Curve::Softplus.of(-1000.0), 0.0);
        assert!((Curve::Softplus.of(0.0) - std::f32::consts::LN_2).abs() < 1e-7);
    }
}
