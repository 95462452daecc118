//! The one-dimensional transforms; two-dimensional ones apply them to columns, then to rows.
//!
//! F(m, 3) computes m neighbouring outputs of a kernel of three from m + 2 inputs with m + 2
//! products: `A' [(G g) * (B' d)]`. The matrices are those of A. Lavin, S. Gray, "Fast Algorithms
//! for Convolutional Neural Networks" (2016), with the points 0, 1, -1 for m = 2 and also 2, -2
//! for m = 4.

use pulp::Simd;

/// F(M, 3) with A = M + 2 products.
pub(super) trait Transform<const M: usize, const A: usize> {
    /// G: a row per product.
    const KERNEL: [[f32; 3]; A];

    /// B' times inputs.
    fn inputs<S: Simd>(simd: S, inputs: [S::f32s; A]) -> [S::f32s; A];

    /// A' times products.
    fn outputs<S: Simd>(simd: S, products: [S::f32s; A]) -> [S::f32s; M];
}

/// F(2, 3).
pub(super) struct F2;

/// F(4, 3).
pub(super) struct F4;

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

impl Transform<4, 6> for F4 {
    const KERNEL: [[f32; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn inputs<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 6] {
        let two = simd.splat_f32s(2.0);
        let four = simd.splat_f32s(4.0);
        let five = simd.splat_f32s(5.0);
        // e - 4c, d - 4b, e - c, 2 (d - b)
        let even = simd.negate_mul_add_f32s(four, c, e);
        let odd = simd.negate_mul_add_f32s(four, b, d);
        let outer = simd.sub_f32s(e, c);
        let inner = simd.mul_f32s(two, simd.sub_f32s(d, b));
        [
            simd.mul_add_f32s(four, a, simd.negate_mul_add_f32s(five, c, e)),
            simd.add_f32s(even, odd),
            simd.sub_f32s(even, odd),
            simd.add_f32s(outer, inner),
            simd.sub_f32s(outer, inner),
            simd.mul_add_f32s(four, b, simd.negate_mul_add_f32s(five, d, f)),
        ]
    }

    #[inline(always)]
    fn outputs<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 4] {
        let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
        let (wide, slope) = (simd.add_f32s(d, e), simd.sub_f32s(d, e));
        let times = |factor| simd.splat_f32s(factor);
        [
            simd.add_f32s(simd.add_f32s(a, sum), wide),
            simd.mul_add_f32s(times(2.0), slope, difference),
            simd.mul_add_f32s(times(4.0), wide, sum),
            simd.add_f32s(simd.mul_add_f32s(times(8.0), slope, difference), f),
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
        let (plain, found) = both::<F4, 4, 6>();
        assert!(plain.iter().zip(&found).all(near), "{plain:?} {found:?}");
    }
}
