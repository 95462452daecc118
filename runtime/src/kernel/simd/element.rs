//! What packed weights are kept as: float32, or halves for half the memory.
//!
//! Kernels compute in float32 either way. A vector of halves becomes one of floats as it is loaded,
//! which takes an instruction or two where the processor has them (AVX-512; F16C beside AVX2; NEON)
//! and a few integer operations elsewhere. So the same inner loop serves both, compiled for each.

use std::any::TypeId;
use std::fmt::Debug;

use half::f16;
use half::slice::HalfFloatSliceExt;
use pulp::{Arch, Simd};

use super::vector;
use crate::kernel::memory::lanes::BLOCK;

/// An element of packed weights.
pub(crate) trait Element: Copy + Debug + Send + Sync + 'static {
    /// The elements nearest to these floats.
    fn of(floats: Vec<f32>) -> Vec<Self>;

    /// A vector of elements, as floats.
    ///
    /// # Safety
    /// As many elements as a vector has lanes can be read from `from`, and kernels of `S` may
    /// [read](reads_halves) these elements.
    unsafe fn load_ptr<S: Simd>(simd: S, from: *const Self) -> S::f32s;

    /// The vector at the start of a slice.
    #[inline(always)]
    fn load<S: Simd>(simd: S, slice: &[Self]) -> S::f32s {
        let slice = &slice[..S::F32_LANES];
        // SAFETY: there are as many elements; weights are packed as halves only for kernels that
        // can read them.
        unsafe { Self::load_ptr(simd, slice.as_ptr()) }
    }
}

impl Element for f32 {
    fn of(floats: Vec<f32>) -> Vec<f32> {
        floats
    }

    #[inline(always)]
    unsafe fn load_ptr<S: Simd>(_: S, from: *const f32) -> S::f32s {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<S::f32s>().read_unaligned() }
    }
}

impl Element for f16 {
    fn of(floats: Vec<f32>) -> Vec<f16> {
        let mut halves = vec![f16::ZERO; floats.len()];
        narrow(&floats, &mut halves);
        halves
    }

    #[inline(always)]
    unsafe fn load_ptr<S: Simd>(_: S, from: *const f16) -> S::f32s {
        // SAFETY: the caller's promise; a value of V4, V3 or Neon proves that the machine has those
        // instructions, and then `S::f32s` is the vector that they make.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if TypeId::of::<S>() == TypeId::of::<pulp::x86::V4>() {
                return std::mem::transmute_copy(&widen::sixteen(from));
            } else if TypeId::of::<S>() == TypeId::of::<pulp::x86::V3>() {
                return std::mem::transmute_copy(&widen::eight(from));
            }
            #[cfg(target_arch = "aarch64")]
            if TypeId::of::<S>() == TypeId::of::<pulp::aarch64::Neon>() {
                return std::mem::transmute_copy(&widen::four(from));
            }
            let mut floats = [0.0; BLOCK];
            for (lane, float) in floats.iter_mut().enumerate().take(S::F32_LANES) {
                *float = widen::one(*from.add(lane));
            }
            vector::load::<S>(&floats)
        }
    }
}

/// Whether kernels with these instructions can read halves: F16C is not part of what
/// [`pulp::x86::V3`] stands for, although every known processor with AVX2 has it.
pub(crate) fn reads_halves(arch: Arch) -> bool {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => std::arch::is_x86_feature_detected!("f16c"),
        _ => true,
    }
}

/// Rounds floats to halves; what is beyond their range becomes the largest one, 65504, rather than
/// infinite.
pub(crate) fn narrow(floats: &[f32], halves: &mut [f16]) {
    /// Enough to fill vectors, and short enough for the stack.
    const CHUNK: usize = 64;
    let largest = f16::MAX.to_f32();
    for (floats, halves) in floats.chunks(CHUNK).zip(halves.chunks_mut(CHUNK)) {
        let mut within = [0.0f32; CHUNK];
        let within = &mut within[..floats.len()];
        for (within, float) in within.iter_mut().zip(floats) {
            *within = float.clamp(-largest, largest);
        }
        halves.convert_from_f32_slice(within);
    }
}

/// Halves to floats, exactly.
mod widen {
    use half::f16;

    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn sixteen(from: *const f16) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtph_ps};
        // SAFETY: the caller's promise.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    /// F16C. Written in assembly, since a function that needs F16C could not become part of a kernel
    /// that is compiled for V3.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn eight(from: *const f16) -> std::arch::x86_64::__m256 {
        let floats;
        // SAFETY: the caller's promise.
        unsafe {
            std::arch::asm!(
                "vcvtph2ps {floats}, xmmword ptr [{from}]",
                floats = out(ymm_reg) floats,
                from = in(reg) from,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        floats
    }

    /// NEON.
    #[cfg(target_arch = "aarch64")]
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn four(from: *const f16) -> std::arch::aarch64::float32x4_t {
        let floats;
        // SAFETY: the caller's promise.
        unsafe {
            let halves = std::arch::aarch64::vld1_u16(from.cast());
            std::arch::asm!(
                "fcvtl {floats:v}.4s, {halves:v}.4h",
                floats = out(vreg) floats,
                halves = in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        floats
    }

    /// Any processor. The bits of a half are those of a float whose exponent is 112 too small, so a
    /// multiplication does the rest, for subnormal halves, too.
    #[inline(always)]
    pub(super) fn one(half: f16) -> f32 {
        const SCALE: f32 = f32::from_bits((127 + 112) << 23);
        let (bits, sign) = (u32::from(half.to_bits() & 0x7fff), half.to_bits() & 0x8000);
        let scaled = (f32::from_bits(bits << 13) * SCALE).to_bits();
        let special = bits << 13 | f32::INFINITY.to_bits();
        let magnitude = if bits < 0x7c00 { scaled } else { special };
        f32::from_bits(magnitude | u32::from(sign) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::archs;
    use pulp::WithSimd;

    struct Widen<'a>(&'a [f16], Vec<f32>);

    impl WithSimd for Widen<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) -> Vec<f32> {
            for (from, to) in self.0.chunks(S::F32_LANES).zip(self.1.chunks_exact_mut(S::F32_LANES))
            {
                vector::store::<S>(to, f16::load(simd, from));
            }
            self.1
        }
    }

    #[test]
    fn every_half_becomes_its_float() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for arch in archs() {
            let floats = arch.dispatch(Widen(&halves, vec![0.0; halves.len()]));
            for (half, float) in halves.iter().zip(floats) {
                let wanted = half.to_f32_const();
                let same = wanted.to_bits() == float.to_bits() || wanted.is_nan() && float.is_nan();
                assert!(same, "{half:?} became {float} by {arch:?}");
            }
        }
    }

    #[test]
    fn what_no_half_can_hold_becomes_the_largest() {
        let floats = [65504.0, 65519.9, 65520.0, 1e9, f32::INFINITY, -1e9, 0.0, f32::NAN];
        let halves = f16::of(floats.to_vec());
        let largest = f16::MAX;
        assert_eq!(halves[..7], [largest, largest, largest, largest, largest, -largest, f16::ZERO]);
        assert!(halves[7].is_nan());
    }
}
