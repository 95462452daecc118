//! Loads and stores vectors, whole or only their first few elements.

use pulp::{MemMask, Simd};

/// Lanes of the widest vectors.
const WIDEST: usize = 16;

const COUNT: [u32; WIDEST] = {
    let mut count = [0; WIDEST];
    let mut lane = 0;
    while lane < WIDEST {
        count[lane] = lane as u32;
        lane += 1;
    }
    count
};

/// A mask of the first `len` lanes. pulp's own partial loads and stores use a jump table, which
/// costs more than a whole row of a small map.
#[inline(always)]
fn first<S: Simd>(simd: S, len: usize) -> MemMask<S::m32s> {
    let lanes = S::as_simd_u32s(&COUNT).0[0];
    MemMask::new(simd.less_than_u32s(lanes, simd.splat_u32s(len as u32)))
}

/// The elements of a slice that is no longer than a vector, followed by zeros.
#[inline(always)]
pub(crate) fn load_partial<S: Simd>(simd: S, slice: &[f32]) -> S::f32s {
    // SAFETY: only lanes within the slice are read.
    unsafe { simd.mask_load_ptr_f32s(first(simd, slice.len()), slice.as_ptr()) }
}

/// Fills a slice that is no longer than a vector with the vector's first elements.
#[inline(always)]
pub(crate) fn store_partial<S: Simd>(simd: S, slice: &mut [f32], vector: S::f32s) {
    // SAFETY: only lanes within the slice are written.
    unsafe { simd.mask_store_ptr_f32s(first(simd, slice.len()), slice.as_mut_ptr(), vector) }
}

/// The vector at the start of a slice.
#[inline(always)]
pub(crate) fn load<S: Simd>(slice: &[f32]) -> S::f32s {
    S::as_simd_f32s(&slice[..S::F32_LANES]).0[0]
}

/// Fetches an address into the second-level cache; any address is allowed.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and it ignores invalid addresses.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Writes a vector to the start of a slice.
#[inline(always)]
pub(crate) fn store<S: Simd>(slice: &mut [f32], vector: S::f32s) {
    S::as_mut_simd_f32s(&mut slice[..S::F32_LANES]).0[0] = vector;
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, WithSimd};

    struct Copy<'a>(&'a [f32], &'a mut [f32]);

    impl WithSimd for Copy<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let len = self.0.len().min(S::F32_LANES);
            let vector = load_partial(simd, &self.0[..len]);
            store_partial(simd, &mut self.1[..len], vector);
        }
    }

    #[test]
    fn nothing_outside_the_slice_is_written() {
        let from: Vec<f32> = (1..=WIDEST).map(|x| x as f32).collect();
        for len in 0..=WIDEST {
            let mut to = [0.0; WIDEST];
            Arch::new().dispatch(Copy(&from[..len], &mut to));
            let copied = to.iter().take_while(|x| **x > 0.0).count();
            assert!(copied <= len && to[copied..].iter().all(|x| *x == 0.0));
            assert_eq!(to[..copied], from[..copied]);
        }
    }
}
