//! Two 256-bit registers a vector: outputs 0 to 7, outputs 8 to 15.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::Simd;
use super::dots::Dot;

/// AVX2, FMA and F16C, and multiply-adds of bytes by `D`.
pub(crate) struct Ymm<D>(PhantomData<D>);

/// The same of both registers, or at both places. Not `map`: a closure is compiled
/// without the target features of its caller before it is inlined, and vectors then
/// go through memory.
macro_rules! both {
    ($a:ident in $of:expr => $with:expr) => {{
        let [$a, second] = $of;
        let first = $with;
        let $a = second;
        [first, $with]
    }};
}

// SAFETY (all functions): the trait's contract, which is that of each intrinsic:
// the instruction exists, and the pointer may be read or written for a vector's
// length. No load or store asks for alignment.
impl<D: Dot> Simd for Ymm<D> {
    type Bytes = [__m256i; 2];
    type Ints = [__m256i; 2];
    type Part = [__m256i; 2];
    type Floats = [__m256; 2];
    /// More than fit in 16 registers: that costs less than unpacking for fewer.
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> [__m256i; 2] {
        unsafe { both!(at in [0, 32] => _mm256_loadu_si256(from.add(at).cast())) }
    }
    #[inline(always)]
    unsafe fn and(a: [__m256i; 2], mask: u8) -> [__m256i; 2] {
        unsafe { both!(a in a => _mm256_and_si256(a, _mm256_set1_epi8(mask as i8))) }
    }
    #[inline(always)]
    unsafe fn or(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn shift(a: [__m256i; 2], bits: i32) -> [__m256i; 2] {
        unsafe {
            match bits {
                0 => a,
                1.. => both!(a in a => _mm256_sll_epi16(a, _mm_cvtsi32_si128(bits))),
                _ => both!(a in a => _mm256_srl_epi16(a, _mm_cvtsi32_si128(-bits))),
            }
        }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], a: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            both!(a in a => _mm256_shuffle_epi8(table, a))
        }
    }

    #[inline(always)]
    unsafe fn start(wide: bool, less: i32, zero: Option<u32>) -> [__m256i; 2] {
        unsafe {
            match zero {
                Some(shift) if !(wide && D::LESS) => {
                    [_mm256_sll_epi32(_mm256_set1_epi32(less), _mm_cvtsi32_si128(shift as i32)); 2]
                }
                _ => [_mm256_setzero_si256(); 2],
            }
        }
    }
    #[inline(always)]
    unsafe fn open(sum: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { both!(sum in sum => D::open(sum)) }
    }
    #[inline(always)]
    unsafe fn dot(
        wide: bool,
        part: [__m256i; 2],
        codes: [__m256i; 2],
        activations: *const [i8; 4],
    ) -> [__m256i; 2] {
        unsafe {
            let activations = _mm256_set1_epi32(activations.cast::<i32>().read_unaligned());
            let of = [(part[0], codes[0]), (part[1], codes[1])];
            both!(of in of => D::dot(wide, of.0, of.1, activations))
        }
    }
    #[inline(always)]
    unsafe fn close(wide: bool, sum: [__m256i; 2], part: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            let of = [(sum[0], part[0]), (sum[1], part[1])];
            both!(of in of => D::close(wide, of.0, of.1))
        }
    }

    #[inline(always)]
    unsafe fn floats(a: [__m256i; 2]) -> [__m256; 2] {
        unsafe { both!(a in a => _mm256_cvtepi32_ps(a)) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> [__m256; 2] {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load_f32(from: *const u8) -> [__m256; 2] {
        unsafe { both!(at in [0, 32] => _mm256_loadu_ps(from.add(at).cast())) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> [__m256; 2] {
        unsafe { both!(at in [0, 16] => _mm256_cvtph_ps(_mm_loadu_si128(from.add(at).cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> [__m256; 2] {
        unsafe {
            both!(at in [0, 16] => {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(at).cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            })
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> [__m256; 2] {
        unsafe {
            both!(at in [0, 8] => {
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(at).cast())))
            })
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> [__m256; 2] {
        unsafe {
            both!(at in [0, 8] => {
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(at).cast())))
            })
        }
    }
    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8, high: bool) -> [__m256; 2] {
        unsafe {
            both!(at in [0, 8] => {
                let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(at).cast()));
                let low = _mm256_and_si256(bytes, _mm256_set1_epi32(15));
                _mm256_cvtepi32_ps(if high { _mm256_srli_epi32::<4>(bytes) } else { low })
            })
        }
    }
    #[inline(always)]
    unsafe fn negate(a: [__m256; 2]) -> [__m256; 2] {
        unsafe { both!(a in a => _mm256_xor_ps(a, _mm256_set1_ps(-0.0))) }
    }
    #[inline(always)]
    unsafe fn add(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn multiply(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn fused(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, a: [__m256; 2]) {
        unsafe {
            _mm256_storeu_ps(to, a[0]);
            _mm256_storeu_ps(to.add(8), a[1]);
        }
    }
}
