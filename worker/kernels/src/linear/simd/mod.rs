//! What a linear kernel needs of an instruction set: vectors of 16 outputs.
//!
//! Kernels are written once, over [`Simd`]; an implementation maps a vector of 16
//! outputs to as many registers as it takes. Every operation is either exact or a
//! single IEEE rounding, so that all implementations give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod dots;

#[cfg(target_arch = "x86_64")]
pub(crate) use {avx2::Ymm, avx512::Avx512};

/// Vectors of 16 outputs.
///
/// # Safety of every function
/// The CPU has the instructions of the set, and pointers may be read for the
/// length that the function names. Functions are inlined into callers that have the
/// set's target features.
pub(crate) trait Simd {
    /// Four bytes for each of 16 outputs.
    type Bytes: Copy;
    /// A 32-bit integer for each of 16 outputs.
    type Ints: Copy;
    /// What [`Simd::dot`] adds up in.
    type Part: Copy;
    /// A float for each of 16 outputs.
    type Floats: Copy;
    /// Rows of activations that fit in registers beside a tile's codes.
    const ROWS: usize;

    /// Asks for the cache line at `from`, which need not be readable, in the second level.
    unsafe fn prefetch(from: *const u8);
    /// 64 bytes.
    unsafe fn load(from: *const u8) -> Self::Bytes;
    /// Bits that `mask` has too, in every byte.
    unsafe fn and(a: Self::Bytes, mask: u8) -> Self::Bytes;
    /// Bits of either.
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Every pair of bytes, as one little-endian number, shifted left; right where
    /// `bits` is negative. Bits that cross bytes are the caller's to mask.
    unsafe fn shift(a: Self::Bytes, bits: i32) -> Self::Bytes;
    /// The entries of `table` that the bytes (below 16) of `a` name.
    unsafe fn look_up(table: &[u8; 16], a: Self::Bytes) -> Self::Bytes;

    /// What the sum of a block's products starts with: `less` (minus the sum of its
    /// activations) times the code that stands for zero, two to the `zero`; 0 if that
    /// is 0, or if [`Simd::dot`] takes it off `wide` codes itself.
    unsafe fn start(wide: bool, less: i32, zero: Option<u32>) -> Self::Ints;
    /// Where the products of some quads are added up, that then go to `sum`.
    unsafe fn open(sum: Self::Ints) -> Self::Part;
    /// Adds, for each output, its four unsigned codes times the four activations.
    ///
    /// `wide` says that codes may be above 63; else the products of
    /// [`Codes::RUN`](crate::pack::form::Codes::RUN) quads fit in 16 bits.
    unsafe fn dot(
        wide: bool,
        part: Self::Part,
        codes: Self::Bytes,
        activations: *const [i8; 4],
    ) -> Self::Part;
    /// `sum`, which `part` was opened with, and what was added to `part`.
    unsafe fn close(wide: bool, sum: Self::Ints, part: Self::Part) -> Self::Ints;

    /// The nearest floats; exact below 2²⁴, which every block's sum is.
    unsafe fn floats(a: Self::Ints) -> Self::Floats;
    /// A number for all outputs.
    unsafe fn splat(value: f32) -> Self::Floats;
    /// 16 `f32` at `from`.
    unsafe fn load_f32(from: *const u8) -> Self::Floats;
    /// 16 half-precision numbers at `from`.
    unsafe fn load_f16(from: *const u8) -> Self::Floats;
    /// 16 bfloat16 numbers at `from`.
    unsafe fn load_bf16(from: *const u8) -> Self::Floats;
    /// 16 unsigned bytes at `from`.
    unsafe fn load_u8(from: *const u8) -> Self::Floats;
    /// 16 signed bytes at `from`.
    unsafe fn load_i8(from: *const u8) -> Self::Floats;
    /// The low or high nibbles of 16 bytes at `from`.
    unsafe fn load_nibbles(from: *const u8, high: bool) -> Self::Floats;
    /// The opposite numbers.
    unsafe fn negate(a: Self::Floats) -> Self::Floats;
    /// Sums.
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Products.
    unsafe fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c` in one rounding.
    unsafe fn fused(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Writes 16 `f32` at `to`.
    unsafe fn store(to: *mut f32, a: Self::Floats);
}
