//! The elements of strips as bytes, little-endian.
//!
//! Halves carry eleven significant bits. What is beyond their range travels as the largest half,
//! 65504, rather than as infinity: one outlier may lose its size, but the sums that it enters stay
//! finite.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::graph::DType;
use crate::kernel::narrow;

/// Elements that are converted at a time; enough to fill vectors, and short enough for the stack.
const CHUNK: usize = 64;

/// Writes `values` as `dtype`; `bytes` has room for them.
pub(super) fn encode(dtype: DType, values: &[f32], bytes: &mut [u8]) {
    match dtype {
        DType::F32 => {
            let (cells, _) = bytes.as_chunks_mut();
            cells.iter_mut().zip(values).for_each(|(cell, value)| *cell = value.to_le_bytes());
        }
        DType::F16 => {
            let (cells, _) = bytes.as_chunks_mut();
            for (values, cells) in values.chunks(CHUNK).zip(cells.chunks_mut(CHUNK)) {
                let mut halves = [f16::ZERO; CHUNK];
                let halves = &mut halves[..values.len()];
                narrow(values, halves);
                for (cell, half) in cells.iter_mut().zip(halves) {
                    *cell = half.to_le_bytes();
                }
            }
        }
    }
}

/// Reads `values` from the bytes of elements of this type.
pub(super) fn decode(dtype: DType, bytes: &[u8], values: &mut [f32]) {
    match dtype {
        DType::F32 => {
            let (cells, _) = bytes.as_chunks();
            values
                .iter_mut()
                .zip(cells)
                .for_each(|(value, cell)| *value = f32::from_le_bytes(*cell));
        }
        DType::F16 => {
            let (cells, _) = bytes.as_chunks();
            for (values, cells) in values.chunks_mut(CHUNK).zip(cells.chunks(CHUNK)) {
                let mut halves = [f16::ZERO; CHUNK];
                let halves = &mut halves[..values.len()];
                for (half, cell) in halves.iter_mut().zip(cells) {
                    *half = f16::from_le_bytes(*cell);
                }
                halves.convert_to_f32_slice(values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(dtype: DType, values: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0; values.len() * dtype.size() as usize];
        encode(dtype, values, &mut bytes);
        let mut back = vec![f32::NAN; values.len()];
        decode(dtype, &bytes, &mut back);
        back
    }

    proptest! {
        #[test]
        fn floats_arrive_as_they_are(bits in prop::collection::vec(any::<u32>(), 0..200)) {
            let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
            let back = through(DType::F32, &values);
            prop_assert_eq!(back.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
        }

        #[test]
        fn halves_arrive_rounded(values in prop::collection::vec(-7e4f32..7e4, 0..200)) {
            for (value, back) in values.iter().zip(through(DType::F16, &values)) {
                let nearest = value.clamp(-65504.0, 65504.0);
                // Half of the last bit, or of the smallest half.
                let within = (nearest.abs() * 2f32.powi(-11)).max(2f32.powi(-25));
                prop_assert!((back - nearest).abs() <= within, "{value} became {back}");
            }
        }

        #[test]
        fn halves_survive_the_way(bits in prop::collection::vec(any::<u16>(), 0..200)) {
            let halves: Vec<f32> = bits
                .iter()
                .map(|bits| f16::from_bits(*bits).to_f32())
                .filter(|value| value.is_finite())
                .collect();
            prop_assert_eq!(through(DType::F16, &halves), halves);
        }
    }

    #[test]
    fn what_no_half_can_hold_becomes_the_largest() {
        let values = [65504.0, 65519.9, 65520.0, 1e9, f32::MAX, f32::INFINITY, 0.0];
        let largest = [65504.0, 65504.0, 65504.0, 65504.0, 65504.0, 65504.0, 0.0];
        assert_eq!(through(DType::F16, &values), largest);
        assert_eq!(through(DType::F16, &values.map(|value| -value)), largest.map(|value| -value));
        assert!(through(DType::F16, &[f32::NAN])[0].is_nan());
    }
}
