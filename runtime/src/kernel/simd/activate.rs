//! Computes activations; nothing else does.
//!
//! [`activate`] works on a vector. Kernels whose sums are in registers work in two steps, so that
//! the common case takes two instructions: [`limit`] before they store, which is all that Relu and
//! Clip need, and [`Activation::apply_curve`] for curves, on what they stored, while it is still in
//! the first-level cache.
//!
//! Every lane goes through the same operations, so the result for a value depends neither on its
//! position nor, among instruction sets with fused multiply-add, on the machine. NaN stays NaN.

use pulp::{Arch, Simd, WithSimd};

use super::vector;
use crate::graph::Activation;

/// Outside of these the exponential is zero or infinite in float32.
const EXPONENTS: (f32, f32) = (-88.0, 89.0);

/// Adding it rounds to an integer, which ends up in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// ln 2 as a sum; multiples of the first part are exact.
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);

/// (e^r - 1 - r) / r^2 on -ln 2 / 2 ..= ln 2 / 2, highest power first (Cephes' expf).
const POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];

impl Activation {
    /// The smallest and largest result before [`Activation::apply_curve`].
    #[inline(always)]
    pub(crate) fn limits(self) -> (f32, f32) {
        match self {
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Clip { min, max } => (min, max),
            _ => (f32::NEG_INFINITY, f32::INFINITY),
        }
    }

    /// Whether there is more to it than limits.
    #[inline(always)]
    fn is_curve(self) -> bool {
        !matches!(self, Activation::Linear | Activation::Relu | Activation::Clip { .. })
    }

    /// Applies what remains to be done to elements within the limits.
    #[inline(always)]
    pub(crate) fn apply_curve<S: Simd>(self, simd: S, elements: &mut [f32]) {
        if self.is_curve() {
            simd.vectorize(Each { elements, activation: self });
        }
    }

    /// Applies the activation to every element, with the instructions of `arch`.
    pub(crate) fn apply(self, arch: Arch, elements: &mut [f32]) {
        if self != Activation::Linear {
            arch.dispatch(Each { elements, activation: self });
        }
    }
}

/// An activation of all elements of a slice.
struct Each<'a> {
    elements: &'a mut [f32],
    activation: Activation,
}

impl WithSimd for Each<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if let Activation::Curve(curve) = self.activation {
            self.elements.iter_mut().for_each(|x| *x = curve.of(*x));
            return;
        }
        let (vectors, rest) = S::as_mut_simd_f32s(self.elements);
        for x in vectors {
            *x = activate(simd, *x, self.activation);
        }
        let x = vector::load_partial(simd, rest);
        vector::store_partial(simd, rest, activate(simd, x, self.activation));
    }
}

/// Applies an activation to every lane.
#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, x: S::f32s, activation: Activation) -> S::f32s {
    match activation {
        Activation::Linear => x,
        Activation::Relu | Activation::Clip { .. } => limit(simd, x, activation.limits()),
        Activation::Leaky { slope } => {
            let negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
            simd.select_f32s(negative, simd.mul_f32s(x, simd.splat_f32s(slope)), x)
        }
        Activation::Sigmoid => {
            let one = simd.splat_f32s(1.0);
            simd.div_f32s(one, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
        }
        Activation::Silu => {
            let one = simd.splat_f32s(1.0);
            simd.div_f32s(x, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
        }
        Activation::HardSigmoid { alpha, beta } => hard_sigmoid(simd, x, alpha, beta),
        Activation::HardSwish => simd.mul_f32s(x, hard_sigmoid(simd, x, 1.0 / 6.0, 0.5)),
        Activation::Curve(curve) => {
            // One lane at a time; a vector is at most sixteen wide.
            let mut lanes = [0.0f32; 16];
            let lanes = &mut lanes[..S::F32_LANES];
            vector::store_partial(simd, lanes, x);
            lanes.iter_mut().for_each(|lane| *lane = curve.of(*lane));
            vector::load_partial(simd, lanes)
        }
    }
}

/// Clamps every lane to `low..=high`.
#[inline(always)]
pub(crate) fn limit<S: Simd>(simd: S, x: S::f32s, (low, high): (f32, f32)) -> S::f32s {
    let (low, high) = (simd.splat_f32s(low), simd.splat_f32s(high));
    if S::F32_LANES > 1 {
        // Vectors' max gives its second operand where one is a NaN, or always the NaN.
        return simd.min_f32s(high, simd.max_f32s(low, x));
    }
    // Comparisons with a NaN are false, while a scalar max drops it.
    let x = simd.select_f32s(simd.less_than_f32s(x, low), low, x);
    simd.select_f32s(simd.greater_than_f32s(x, high), high, x)
}

#[inline(always)]
fn hard_sigmoid<S: Simd>(simd: S, x: S::f32s, alpha: f32, beta: f32) -> S::f32s {
    let line = simd.mul_add_e_f32s(x, simd.splat_f32s(alpha), simd.splat_f32s(beta));
    limit(simd, line, (0.0, 1.0))
}

/// e^x, within 2e-7 of it relatively; zero below the smallest normal number and infinite from
/// 88.4 on. With n the integer next to x / ln 2 and r the rest, e^x = 2^n e^r.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |value: f32| simd.splat_f32s(value);
    let x = limit(simd, x, EXPONENTS);
    let rounded = simd.mul_add_e_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(rounded, splat(ROUND));
    let r = simd.mul_add_e_f32s(n, splat(-LN_2.0), x);
    let r = simd.mul_add_e_f32s(n, splat(-LN_2.1), r);
    let mut sum = splat(POLYNOMIAL[0]);
    for factor in &POLYNOMIAL[1..] {
        sum = simd.mul_add_e_f32s(sum, r, splat(*factor));
    }
    let sum = simd.mul_add_e_f32s(sum, simd.mul_f32s(r, r), simd.add_f32s(r, splat(1.0)));
    // The bits of 2^n: its exponent is n + 127. What lies above n's bits is shifted out.
    let bits = simd.add_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(127));
    let power = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    simd.mul_f32s(sum, simd.transmute_f32s_u32s(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 8] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Clip { min: -0.5, max: 6.0 },
        Activation::Leaky { slope: 0.1 },
        Activation::Sigmoid,
        Activation::Silu,
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::HardSwish,
    ];

    struct Exp<'a>(&'a mut [f32]);

    impl WithSimd for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            S::as_mut_simd_f32s(self.0).0.iter_mut().for_each(|x| *x = exp(simd, *x));
        }
    }

    fn applied(activation: Activation, values: &[f32]) -> Vec<f32> {
        let mut elements = values.to_vec();
        activation.apply(Arch::new(), &mut elements);
        elements
    }

    fn exact(activation: Activation, x: f64) -> f64 {
        let hard = |alpha: f64, beta: f64| (alpha * x + beta).clamp(0.0, 1.0);
        match activation {
            Activation::Linear => x,
            Activation::Relu => x.max(0.0),
            Activation::Clip { min, max } => x.clamp(f64::from(min), f64::from(max)),
            Activation::Leaky { slope } => {
                if x < 0.0 {
                    x * f64::from(slope)
                } else {
                    x
                }
            }
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::HardSigmoid { alpha, beta } => hard(f64::from(alpha), f64::from(beta)),
            Activation::HardSwish => x * hard(1.0 / 6.0, 0.5),
            Activation::Curve(curve) => f64::from(curve.of(x as f32)),
        }
    }

    #[test]
    fn results_are_exact_but_for_rounding() {
        let values: Vec<f32> = (-400_000..400_000).map(|i| i as f32 * 2e-4).collect();
        for activation in ALL {
            for (x, found) in values.iter().zip(applied(activation, &values)) {
                let exact = exact(activation, f64::from(*x));
                let error = (f64::from(found) - exact).abs();
                let most = match activation {
                    // The sum cancels near the lower bend.
                    Activation::HardSigmoid { .. } | Activation::HardSwish => 1e-6,
                    _ => 1e-6 * exact.abs(),
                };
                assert!(error <= most, "{activation:?} of {x}: {found}, not {exact}");
            }
        }
    }

    #[test]
    fn exponentials_are_within_two_ten_millionths() {
        for arch in [Arch::Scalar, Arch::new()] {
            let values: Vec<f32> = (-8_704..8_832).map(|i| i as f32 * 0.01).collect();
            let mut found = values.clone();
            arch.dispatch(Exp(&mut found));
            for (x, found) in values.iter().zip(found) {
                let exact = f64::from(*x).exp();
                assert!((f64::from(found) / exact - 1.0).abs() < 2e-7, "{x}: {found}, not {exact}");
            }
        }
    }

    #[test]
    fn a_result_does_not_depend_on_its_place() {
        for activation in ALL {
            for x in [-3.7, -0.1, 0.3, 2.9, 40.0] {
                let whole = applied(activation, &[x; 67]);
                assert!(whole.iter().all(|found| found.to_bits() == whole[0].to_bits()));
                assert_eq!(applied(activation, &[x])[0].to_bits(), whole[0].to_bits());
            }
        }
    }

    #[test]
    fn what_is_no_number_or_beyond_all_bounds() {
        for activation in ALL {
            assert!(applied(activation, &[f32::NAN; 20]).iter().all(|x| x.is_nan()));
        }
        let largest = [f32::MIN, f32::MAX, f32::NEG_INFINITY, f32::INFINITY];
        assert_eq!(applied(Activation::Sigmoid, &largest), [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(applied(Activation::Silu, &largest[..2]), [0.0, f32::MAX]);
        assert_eq!(applied(Activation::Relu, &largest), [0.0, f32::MAX, 0.0, f32::INFINITY]);
    }
}
