//! [`Block::of`] in vectors. Of its plain form compilers make code that takes several
//! times as long. For AVX-512 too: half as many registers have sums twice as deep.

use std::arch::x86_64::*;

use super::block::{Block, Make};
use crate::pack::form::BLOCK;

/// AVX2.
pub(super) enum Avx2 {}

impl Make for Avx2 {
    #[inline(always)]
    unsafe fn block(x: &[f32; BLOCK]) -> Block {
        // SAFETY: the instructions exist; loads are of the array's quarters, the store
        // is of all codes.
        unsafe {
            let [a, b] = [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))];
            let [c, d] = [_mm256_loadu_ps(x.as_ptr().add(16)), _mm256_loadu_ps(x.as_ptr().add(24))];
            let most = _mm256_max_epi32(
                _mm256_max_epi32(magnitude_256(a), magnitude_256(b)),
                _mm256_max_epi32(magnitude_256(c), magnitude_256(d)),
            );
            let most = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256::<1>(most));
            let most = _mm_max_epi32(most, _mm_shuffle_epi32::<0b01_00_11_10>(most));
            let most = _mm_max_epi32(most, _mm_shuffle_epi32::<0b10_11_00_01>(most));
            let (inverse, scale) = Block::factors(_mm_cvtsi128_si32(most) as u32);
            let inverse = _mm256_set1_ps(inverse);
            let [a, b] = [codes_256(a, inverse), codes_256(b, inverse)];
            let [c, d] = [codes_256(c, inverse), codes_256(d, inverse)];
            // Packing goes by halves of registers: fours of codes come out of order.
            let fours = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
            let fours = _mm256_permutevar8x32_epi32(fours, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
            let mut codes = [[0; 4]; 8];
            _mm256_storeu_si256(codes.as_mut_ptr().cast(), fours);
            let halves = _mm256_hadd_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
            let halves = _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves));
            let halves = _mm_hadd_epi32(halves, halves);
            Block::with_sums(codes, scale, [_mm_cvtsi128_si32(halves), _mm_extract_epi32::<1>(halves)])
        }
    }
}

/// The bits without the sign.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn magnitude_256(x: __m256) -> __m256i {
    // SAFETY: the instructions exist.
    unsafe { _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(i32::MAX)) }
}

/// Codes as integers; 0 for what is not a number, as infinity times zero.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn codes_256(x: __m256, inverse: __m256) -> __m256i {
    // SAFETY: the instructions exist.
    unsafe {
        let x = _mm256_mul_ps(x, inverse);
        let number = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
        _mm256_and_si256(_mm256_cvtps_epi32(x), number)
    }
}
