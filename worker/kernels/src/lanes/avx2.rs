//! Two 256-bit registers: lanes 0 to 7, lanes 8 to 15.

use std::arch::x86_64::*;

use super::Lanes;

/// AVX2, FMA and F16C.
///
/// There are no closures here: one is compiled without the target features of the
/// function around it, and vectors then go through memory.
#[derive(Clone, Copy)]
pub(crate) struct Avx2([__m256; 2]);

macro_rules! each {
    ($instruction:ident, $($operand:expr),*) => {
        // SAFETY: the caller's contract.
        Self(unsafe { [$instruction($($operand.0[0]),*), $instruction($($operand.0[1]),*)] })
    };
}

// SAFETY (all functions): the trait's contract, which is that of each intrinsic.
impl Lanes for Avx2 {
    /// Four registers of sums a row, of 16.
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(unsafe { [_mm256_set1_ps(value); 2] })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] })
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        Self(unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
            ]
        })
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        Self(unsafe {
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast()))),
            ]
        })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0[0]);
            _mm256_storeu_ps(to.add(8), self.0[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        unsafe {
            let bits = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0[0]);
            _mm_storeu_si128(to.cast(), bits);
            let bits = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0[1]);
            _mm_storeu_si128(to.add(8).cast(), bits);
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        each!(_mm256_add_ps, self, other)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        each!(_mm256_sub_ps, self, other)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        each!(_mm256_mul_ps, self, other)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        each!(_mm256_div_ps, self, other)
    }
    #[inline(always)]
    unsafe fn fma(self, by: Self, plus: Self) -> Self {
        each!(_mm256_fmadd_ps, self, by, plus)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        each!(_mm256_max_ps, self, other)
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        each!(_mm256_min_ps, self, other)
    }
    #[inline(always)]
    unsafe fn scale(self, count: Self) -> Self {
        macro_rules! of {
            ($i:literal) => {{
                let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(count.0[$i]));
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(self.0[$i]), exponent))
            }};
        }
        Self(unsafe { [of!(0), of!(1)] })
    }
    #[inline(always)]
    unsafe fn zero_below(self, x: Self, limit: Self) -> Self {
        macro_rules! of {
            ($i:literal) => {
                _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x.0[$i], limit.0[$i]), self.0[$i])
            };
        }
        Self(unsafe { [of!(0), of!(1)] })
    }
}
