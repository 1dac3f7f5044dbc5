//! Multiply-adds of bytes in 256-bit registers.

use std::arch::x86_64::*;

/// How eight outputs' products of codes and activations are added up: the part of
/// [`Simd`](super::Simd) that sets with registers of this width differ in.
///
/// # Safety of every function
/// The CPU has AVX2 and what the implementation names.
pub(crate) trait Dot {
    /// Products of wide codes are those of the codes less 128.
    const LESS: bool;
    /// See [`Simd::open`](super::Simd::open).
    unsafe fn open(sum: __m256i) -> __m256i;
    /// See [`Simd::dot`](super::Simd::dot).
    unsafe fn dot(wide: bool, part: __m256i, codes: __m256i, activations: __m256i) -> __m256i;
    /// See [`Simd::close`](super::Simd::close).
    unsafe fn close(wide: bool, sum: __m256i, part: __m256i) -> __m256i;
}

/// AVX2 alone. Products of narrow codes are added up in 16 bits. Two of wide ones
/// would not fit there: their sign (they stand for themselves less 128) goes to the
/// activations, and what is left is at most 128.
pub(crate) enum Pairs {}

// SAFETY (all functions): the trait's contract: the instructions exist.
impl Dot for Pairs {
    const LESS: bool = true;

    #[inline(always)]
    unsafe fn open(_: __m256i) -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn dot(wide: bool, part: __m256i, codes: __m256i, activations: __m256i) -> __m256i {
        unsafe {
            if wide {
                let codes = _mm256_xor_si256(codes, _mm256_set1_epi8(i8::MIN));
                let activations = _mm256_sign_epi8(activations, codes);
                let twos = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), activations);
                _mm256_add_epi32(part, _mm256_madd_epi16(twos, _mm256_set1_epi16(1)))
            } else {
                _mm256_add_epi16(part, _mm256_maddubs_epi16(codes, activations))
            }
        }
    }
    #[inline(always)]
    unsafe fn close(wide: bool, sum: __m256i, part: __m256i) -> __m256i {
        unsafe {
            let part = if wide { part } else { _mm256_madd_epi16(part, _mm256_set1_epi16(1)) };
            _mm256_add_epi32(sum, part)
        }
    }
}

macro_rules! vnni {
    ($(#[$meta:meta])* $name:ident, $dot:ident) => {
        $(#[$meta])*
        pub(crate) enum $name {}

        $(#[$meta])*
        // SAFETY (all functions): the trait's contract: the instruction exists.
        impl Dot for $name {
            const LESS: bool = false;

            #[inline(always)]
            unsafe fn open(sum: __m256i) -> __m256i {
                sum
            }
            #[inline(always)]
            unsafe fn dot(_: bool, part: __m256i, codes: __m256i, activations: __m256i) -> __m256i {
                unsafe { $dot(part, codes, activations) }
            }
            #[inline(always)]
            unsafe fn close(_: bool, _: __m256i, part: __m256i) -> __m256i {
                part
            }
        }
    };
}

vnni!(
    /// AVX-VNNI.
    Vex,
    _mm256_dpbusd_avx_epi32
);
vnni!(
    /// AVX-512 VL and VNNI: the same instruction in another encoding, for tests on
    /// CPUs that have this one only.
    #[cfg(test)]
    Evex,
    _mm256_dpbusd_epi32
);
