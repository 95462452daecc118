//! The one-dimensional transforms; in two dimensions they are applied to columns, then to rows.
//!
//! F(m, 3) computes m neighbouring outputs of a kernel of three cells from m + 2 inputs with m + 2
//! products: `A' [(G g) * (B' d)]` (A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2016). The matrices belong to the points 0, 1, -1 for m = 2, to 1/2 besides for
//! m = 3, and to 0, p, -p, 1/p, -1/p for m = 4. The usual points 1 and 2 would be as fast, but p = sqrt(1/2) has less than half of
//! their rounding error, since points closer to 1 round better (B. Barabasz et al., "Error Analysis
//! and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020).

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use pulp::Simd;

/// F(M, 3) with A = M + 2 products.
pub(crate) trait Transform<const M: usize, const A: usize> {
    /// G, with a row per product.
    const KERNEL: [[f32; 3]; A];

    /// B' times inputs.
    fn inputs<S: Simd>(simd: S, inputs: [S::f32s; A]) -> [S::f32s; A];

    /// A' times products.
    fn outputs<S: Simd>(simd: S, products: [S::f32s; A]) -> [S::f32s; M];
}

/// F(2, 3).
pub(crate) struct F2;

/// F(3, 3).
pub(crate) struct F3;

/// F(4, 3).
pub(crate) struct F4;

impl Transform<2, 4> for F2 {
    const KERNEL: [[f32; 3]; 4] =
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn inputs<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
        [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
    }

    #[inline(always)]
    fn outputs<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
        let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
        [simd.add_f32s(a, sum), simd.sub_f32s(difference, d)]
    }
}

impl Transform<3, 5> for F3 {
    const KERNEL: [[f32; 3]; 5] = [
        [1.0, 0.0, 0.0],
        [1.0, 1.0, 1.0],
        [-1.0 / 3.0, 1.0 / 3.0, -1.0 / 3.0],
        [-8.0 / 3.0, -4.0 / 3.0, -2.0 / 3.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn inputs<S: Simd>(simd: S, [a, b, c, d, e]: [S::f32s; 5]) -> [S::f32s; 5] {
        let times = |factor, x, y| simd.mul_add_f32s(simd.splat_f32s(factor), x, y);
        let half = simd.sub_f32s(d, b);
        [
            times(2.0, half, simd.sub_f32s(a, c)),
            times(-0.5, simd.add_f32s(b, c), simd.add_f32s(d, c)),
            times(0.5, simd.sub_f32s(b, c), simd.sub_f32s(d, c)),
            half,
            times(-0.5, half, simd.sub_f32s(e, c)),
        ]
    }

    #[inline(always)]
    fn outputs<S: Simd>(simd: S, [a, b, c, d, e]: [S::f32s; 5]) -> [S::f32s; 3] {
        let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
        let add = |factor, x, y| simd.mul_add_f32s(simd.splat_f32s(factor), x, y);
        [
            simd.add_f32s(a, simd.add_f32s(sum, d)),
            add(0.5, d, difference),
            add(0.25, d, simd.add_f32s(sum, e)),
        ]
    }
}

impl Transform<4, 6> for F4 {
    const KERNEL: [[f32; 3]; 6] = [
        [1.0, 0.0, 0.0],
        [-2.0 / 3.0, -SQRT_2 / 3.0, -1.0 / 3.0],
        [-2.0 / 3.0, SQRT_2 / 3.0, -1.0 / 3.0],
        [1.0 / 6.0, SQRT_2 / 6.0, 1.0 / 3.0],
        [1.0 / 6.0, -SQRT_2 / 6.0, 1.0 / 3.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn inputs<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 6] {
        let times = |factor, x, y| simd.mul_add_f32s(simd.splat_f32s(factor), x, y);
        // Of the points -p and p, of -1/p and 1/p.
        let (even, odd) = (times(-2.0, c, e), times(-2.0, b, d));
        let (far_even, far_odd) = (times(-0.5, c, e), times(-0.5, b, d));
        [
            simd.add_f32s(a, times(-2.5, c, e)),
            times(FRAC_1_SQRT_2, odd, even),
            times(-FRAC_1_SQRT_2, odd, even),
            times(SQRT_2, far_odd, far_even),
            times(-SQRT_2, far_odd, far_even),
            simd.add_f32s(b, times(-2.5, d, f)),
        ]
    }

    #[inline(always)]
    fn outputs<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 4] {
        let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
        let (far_sum, far_difference) = (simd.add_f32s(d, e), simd.sub_f32s(d, e));
        let times = |factor, x| simd.mul_f32s(simd.splat_f32s(factor), x);
        let add = |factor, x, y| simd.mul_add_f32s(simd.splat_f32s(factor), x, y);
        [
            simd.add_f32s(a, simd.add_f32s(sum, far_sum)),
            add(FRAC_1_SQRT_2, difference, times(SQRT_2, far_difference)),
            add(0.5, sum, times(2.0, far_sum)),
            add(FRAC_1_SQRT_2 / 2.0, difference, add(2.0 * SQRT_2, far_difference, f)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::Scalar;

    /// A kernel of three slid over the inputs, plainly and transformed.
    fn both<T: Transform<M, A>, const M: usize, const A: usize>() -> ([f32; M], [f32; M]) {
        let inputs: [f32; A] = std::array::from_fn(|i| (i * i % 7) as f32 - 2.0);
        let kernel = [3.0, -1.0, 0.5];
        let plain = std::array::from_fn(|i| (0..3).map(|k| inputs[i + k] * kernel[k]).sum());
        let inputs = T::inputs(Scalar::new(), inputs);
        let products = std::array::from_fn(|i| {
            inputs[i] * (0..3).map(|k| T::KERNEL[i][k] * kernel[k]).sum::<f32>()
        });
        (plain, T::outputs(Scalar::new(), products))
    }

    #[test]
    fn transformed_products_are_the_convolution() {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        let (plain, found) = both::<F2, 2, 4>();
        assert!(plain.iter().zip(&found).all(near), "{plain:?} {found:?}");
        let (plain, found) = both::<F3, 3, 5>();
        assert!(plain.iter().zip(&found).all(near), "{plain:?} {found:?}");
        let (plain, found) = both::<F4, 4, 6>();
        assert!(plain.iter().zip(&found).all(near), "{plain:?} {found:?}");
    }
}
