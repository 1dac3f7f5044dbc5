//! How the scales of a group lie: up to 256 inputs of 16 outputs.
//!
//! All are in lines of 16 values, one an output. Factors that a whole group shares
//! come first, then the scales block by block.

use half::f16;

use super::MOST;
use crate::linear::simd::Simd;

/// A way to store scales (and what is added to scaled codes).
pub(crate) trait Scales {
    /// Blocks of a group.
    const GROUP: usize;
    /// Inputs 0 to 15 and 16 to 31 of a block have scales of their own.
    const HALVES: bool;
    /// Something is added to scaled codes.
    const ADDS: bool;
    /// Bytes that a group has beside its blocks' own.
    const SHARED: usize;
    /// Bytes of a block's own.
    const BLOCK: usize;

    /// The factor of the codes of `output` in half `half` of `block`.
    fn scale(head: &[u8], block: usize, half: usize, output: usize) -> f32;
    /// What is added to them once scaled.
    fn add(head: &[u8], block: usize, half: usize, output: usize) -> f32;

    /// [`Scales::scale`] of all outputs.
    ///
    /// # Safety
    /// That of [`Simd`]; `head` may be read for as far as `block` goes.
    unsafe fn scales<S: Simd>(head: *const u8, block: usize, half: usize) -> S::Floats;
    /// [`Scales::add`] of all outputs.
    ///
    /// # Safety
    /// As for [`Scales::scales`].
    unsafe fn adds<S: Simd>(head: *const u8, block: usize, half: usize) -> S::Floats;
}

/// The half-precision number of `output` in the line at `at`.
fn half_at(head: &[u8], at: usize, output: usize) -> f32 {
    let at = at + 2 * output;
    f16::from_le_bytes([head[at], head[at + 1]]).to_f32()
}

/// A half-precision scale a block.
pub(crate) struct Halves;
/// A half-precision scale and addend a block.
pub(crate) struct HalfPairs;
/// A 6-bit scale and minimum a block, one byte each; half-precision factors of both a group.
pub(crate) struct SuperPairs;
/// A signed byte a block; a half-precision factor a group.
pub(crate) struct Super;
/// As [`Super`], two a block.
pub(crate) struct SuperHalves;
/// A 4-bit scale and minimum in a byte, two bytes a block; half-precision factors of
/// both a group.
pub(crate) struct SuperNibbles;

// SAFETY (all functions `scales` and `adds`): the caller's contract covers the head as
// far as `block`; each line read lies before `SHARED + (block + 1) * BLOCK`.

impl Scales for Halves {
    const GROUP: usize = 2;
    const HALVES: bool = false;
    const ADDS: bool = false;
    const SHARED: usize = 0;
    const BLOCK: usize = 32;

    fn scale(head: &[u8], block: usize, _: usize, output: usize) -> f32 {
        half_at(head, block * 32, output)
    }
    fn add(_: &[u8], _: usize, _: usize, _: usize) -> f32 {
        0.0
    }
    #[inline(always)]
    unsafe fn scales<S: Simd>(head: *const u8, block: usize, _: usize) -> S::Floats {
        unsafe { S::load_f16(head.add(block * 32)) }
    }
    #[inline(always)]
    unsafe fn adds<S: Simd>(_: *const u8, _: usize, _: usize) -> S::Floats {
        unsafe { S::splat(0.0) }
    }
}

impl Scales for HalfPairs {
    const GROUP: usize = 1;
    const HALVES: bool = false;
    const ADDS: bool = true;
    const SHARED: usize = 0;
    const BLOCK: usize = 64;

    fn scale(head: &[u8], block: usize, _: usize, output: usize) -> f32 {
        half_at(head, block * 64, output)
    }
    fn add(head: &[u8], block: usize, _: usize, output: usize) -> f32 {
        half_at(head, block * 64 + 32, output)
    }
    #[inline(always)]
    unsafe fn scales<S: Simd>(head: *const u8, block: usize, _: usize) -> S::Floats {
        unsafe { S::load_f16(head.add(block * 64)) }
    }
    #[inline(always)]
    unsafe fn adds<S: Simd>(head: *const u8, block: usize, _: usize) -> S::Floats {
        unsafe { S::load_f16(head.add(block * 64 + 32)) }
    }
}

impl Scales for SuperPairs {
    const GROUP: usize = MOST;
    const HALVES: bool = false;
    const ADDS: bool = true;
    const SHARED: usize = 64;
    const BLOCK: usize = 32;

    fn scale(head: &[u8], block: usize, _: usize, output: usize) -> f32 {
        half_at(head, 0, output) * f32::from(head[64 + block * 32 + output])
    }
    fn add(head: &[u8], block: usize, _: usize, output: usize) -> f32 {
        -half_at(head, 32, output) * f32::from(head[64 + block * 32 + 16 + output])
    }
    #[inline(always)]
    unsafe fn scales<S: Simd>(head: *const u8, block: usize, _: usize) -> S::Floats {
        unsafe { S::multiply(S::load_f16(head), S::load_u8(head.add(64 + block * 32))) }
    }
    #[inline(always)]
    unsafe fn adds<S: Simd>(head: *const u8, block: usize, _: usize) -> S::Floats {
        unsafe {
            let factor = S::negate(S::load_f16(head.add(32)));
            S::multiply(factor, S::load_u8(head.add(64 + block * 32 + 16)))
        }
    }
}

impl Scales for Super {
    const GROUP: usize = MOST;
    const HALVES: bool = false;
    const ADDS: bool = false;
    const SHARED: usize = 32;
    const BLOCK: usize = 16;

    fn scale(head: &[u8], block: usize, _: usize, output: usize) -> f32 {
        half_at(head, 0, output) * f32::from(head[32 + block * 16 + output] as i8)
    }
    fn add(_: &[u8], _: usize, _: usize, _: usize) -> f32 {
        0.0
    }
    #[inline(always)]
    unsafe fn scales<S: Simd>(head: *const u8, block: usize, _: usize) -> S::Floats {
        unsafe { S::multiply(S::load_f16(head), S::load_i8(head.add(32 + block * 16))) }
    }
    #[inline(always)]
    unsafe fn adds<S: Simd>(_: *const u8, _: usize, _: usize) -> S::Floats {
        unsafe { S::splat(0.0) }
    }
}

impl Scales for SuperHalves {
    const GROUP: usize = MOST;
    const HALVES: bool = true;
    const ADDS: bool = false;
    const SHARED: usize = 32;
    const BLOCK: usize = 32;

    fn scale(head: &[u8], block: usize, half: usize, output: usize) -> f32 {
        half_at(head, 0, output) * f32::from(head[32 + block * 32 + half * 16 + output] as i8)
    }
    fn add(_: &[u8], _: usize, _: usize, _: usize) -> f32 {
        0.0
    }
    #[inline(always)]
    unsafe fn scales<S: Simd>(head: *const u8, block: usize, half: usize) -> S::Floats {
        unsafe { S::multiply(S::load_f16(head), S::load_i8(head.add(32 + block * 32 + half * 16))) }
    }
    #[inline(always)]
    unsafe fn adds<S: Simd>(_: *const u8, _: usize, _: usize) -> S::Floats {
        unsafe { S::splat(0.0) }
    }
}

impl Scales for SuperNibbles {
    const GROUP: usize = MOST;
    const HALVES: bool = true;
    const ADDS: bool = true;
    const SHARED: usize = 64;
    const BLOCK: usize = 32;

    fn scale(head: &[u8], block: usize, half: usize, output: usize) -> f32 {
        half_at(head, 0, output) * f32::from(head[64 + block * 32 + half * 16 + output] & 15)
    }
    fn add(head: &[u8], block: usize, half: usize, output: usize) -> f32 {
        -half_at(head, 32, output) * f32::from(head[64 + block * 32 + half * 16 + output] >> 4)
    }
    #[inline(always)]
    unsafe fn scales<S: Simd>(head: *const u8, block: usize, half: usize) -> S::Floats {
        unsafe {
            let own = S::load_nibbles(head.add(64 + block * 32 + half * 16), false);
            S::multiply(S::load_f16(head), own)
        }
    }
    #[inline(always)]
    unsafe fn adds<S: Simd>(head: *const u8, block: usize, half: usize) -> S::Floats {
        unsafe {
            let own = S::load_nibbles(head.add(64 + block * 32 + half * 16), true);
            S::multiply(S::negate(S::load_f16(head.add(32))), own)
        }
    }
}
