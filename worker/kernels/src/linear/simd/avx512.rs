//! One 512-bit register a vector.

use std::arch::x86_64::*;

use super::Simd;

/// AVX-512 F, BW, VL and VNNI.
pub(crate) enum Avx512 {}

// SAFETY (all functions): the trait's contract, which is that of each intrinsic:
// the instruction exists, and the pointer may be read or written for a vector's
// length. No load or store asks for alignment.
impl Simd for Avx512 {
    type Bytes = __m512i;
    type Ints = __m512i;
    type Part = __m512i;
    type Floats = __m512;
    /// 12 sums of integers, 12 of floats, and 8 registers for the rest.
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, mask: u8) -> __m512i {
        unsafe { _mm512_and_si512(a, _mm512_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn shift(a: __m512i, bits: i32) -> __m512i {
        unsafe {
            match bits {
                0 => a,
                1.. => _mm512_sll_epi16(a, _mm_cvtsi32_si128(bits)),
                _ => _mm512_srl_epi16(a, _mm_cvtsi32_si128(-bits)),
            }
        }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], a: __m512i) -> __m512i {
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, a)
        }
    }

    #[inline(always)]
    unsafe fn start(_: bool, less: i32, zero: Option<u32>) -> __m512i {
        unsafe {
            match zero {
                Some(shift) => _mm512_sll_epi32(_mm512_set1_epi32(less), _mm_cvtsi32_si128(shift as i32)),
                None => _mm512_setzero_si512(),
            }
        }
    }
    #[inline(always)]
    unsafe fn open(sum: __m512i) -> __m512i {
        sum
    }
    #[inline(always)]
    unsafe fn dot(_: bool, part: __m512i, codes: __m512i, activations: *const [i8; 4]) -> __m512i {
        unsafe {
            let activations = _mm512_set1_epi32(activations.cast::<i32>().read_unaligned());
            _mm512_dpbusd_epi32(part, codes, activations)
        }
    }
    #[inline(always)]
    unsafe fn close(_: bool, _: __m512i, part: __m512i) -> __m512i {
        part
    }

    #[inline(always)]
    unsafe fn floats(a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load_f32(from: *const u8) -> __m512 {
        unsafe { _mm512_loadu_ps(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8, high: bool) -> __m512 {
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let low = _mm512_and_si512(bytes, _mm512_set1_epi32(15));
            _mm512_cvtepi32_ps(if high { _mm512_srli_epi32::<4>(bytes) } else { low })
        }
    }
    #[inline(always)]
    unsafe fn negate(a: __m512) -> __m512 {
        unsafe {
            let sign = _mm512_set1_epi32(i32::MIN);
            _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), sign))
        }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn multiply(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fused(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, a: __m512) {
        unsafe { _mm512_storeu_ps(to, a) }
    }
}
