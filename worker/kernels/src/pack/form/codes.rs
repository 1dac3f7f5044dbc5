//! How the codes of a block lie: 32 inputs of 16 outputs.
//!
//! A block is eight quads; quad `j` is inputs `4j` to `4j + 3` of every output, as
//! 64 bytes `[16 outputs][4 inputs]` once unpacked, which is what one VPDPBUSD
//! takes. Packed, quads share bytes: a byte of a packed line holds the bits of the
//! same output and input-in-quad for several quads, so that unpacking is a shift
//! and a mask.

use crate::linear::simd::Simd;

/// Bytes of an unpacked quad, and of a packed line.
pub(crate) const LINE: usize = 64;

/// A way to store the codes of a block.
pub(crate) trait Codes {
    /// Bytes of a block; a multiple of [`LINE`].
    const BYTES: usize;
    /// The code that stands for zero is two to this; none: 0 does.
    const ZERO: Option<u32>;
    /// Codes may be above 63.
    const WIDE: bool;
    /// Quads whose products with activations, added up in pairs, fit in 16 bits (if
    /// codes are not wide): 2 × 127 × the largest code × this is below 2¹⁵.
    const RUN: usize = 4;
    /// How many bytes ahead few rows ask for codes; 0: the processor's own prefetching
    /// is better. Bytes alone are so little work that it comes late: 94 % of what a
    /// plain read gets, and 83 % without. The same makes 4-bit types half as fast.
    const AHEAD: usize = 0;

    /// The code at byte `at` (4 × output + input in the quad) of quad `quad`.
    fn get(block: &[u8], quad: usize, at: usize) -> u8;

    /// Packs codes into `block`, which is all zeros.
    fn put(quads: &[[u8; LINE]; 8], block: &mut [u8]);

    /// Quad `J`, unpacked.
    ///
    /// # Safety
    /// That of [`Simd`]; `block` may be read for [`Codes::BYTES`].
    unsafe fn quad<S: Simd, const J: usize>(block: *const u8) -> S::Bytes;
}

/// `bits` bits of each quad (above `low` others): line `j / per_line` of `lines`
/// holds them at bit `bits * (j % per_line)`.
fn put_bits(quads: &[[u8; LINE]; 8], low: u32, bits: u32, lines: &mut [u8]) {
    let per_line = 8 / bits as usize;
    for (j, quad) in quads.iter().enumerate() {
        let line = &mut lines[j / per_line * LINE..][..LINE];
        let shift = bits * (j % per_line) as u32;
        for (to, code) in line.iter_mut().zip(quad) {
            *to |= (code >> low & ((1 << bits) - 1)) << shift;
        }
    }
}

/// What [`put_bits`] stored.
fn get_bits(lines: &[u8], bits: u32, quad: usize, at: usize) -> u8 {
    let per_line = 8 / bits as usize;
    let byte = lines[quad / per_line * LINE + at];
    byte >> (bits * (quad % per_line) as u32) & ((1 << bits) - 1)
}

/// Nibbles: quad `j` in the low halves of line `j`, quad `j + 4` in the high ones,
/// so that a line is read once for both halves of the block.
fn put_nibbles(quads: &[[u8; LINE]; 8], lines: &mut [u8]) {
    for (j, line) in lines.chunks_exact_mut(LINE).enumerate() {
        for ((to, low), high) in line.iter_mut().zip(&quads[j]).zip(&quads[j + 4]) {
            *to = low & 15 | high << 4;
        }
    }
}

fn get_nibble(lines: &[u8], quad: usize, at: usize) -> u8 {
    lines[quad % 4 * LINE + at] >> (4 * (quad / 4)) & 15
}

// SAFETY (the functions `quad`, `nibbles` and `plane`): the caller's contract covers
// the block; each line read is one of its `BYTES / LINE`.

#[inline(always)]
unsafe fn nibbles<S: Simd, const J: usize>(lines: *const u8) -> S::Bytes {
    unsafe {
        let line = S::load(lines.add(J % 4 * LINE));
        S::and(if J < 4 { line } else { S::shift(line, -4) }, 15)
    }
}

/// The bits that [`put_bits`] stored, moved to bit `to`.
#[inline(always)]
unsafe fn plane<S: Simd, const J: usize>(lines: *const u8, bits: i32, to: i32) -> S::Bytes {
    unsafe {
        let per_line = 8 / bits as usize;
        let line = S::load(lines.add(J / per_line * LINE));
        let from = bits * (J % per_line) as i32;
        S::and(S::shift(line, to - from), (((1 << bits) - 1) << to) as u8)
    }
}

/// Four bits, 0 stands for 2^`ZERO` (or for 0 where that is 255).
pub(crate) struct Nibbles<const ZERO: u32>;
/// Five bits: nibbles and a plane of fifth bits.
pub(crate) struct Fives<const ZERO: u32>;
/// Six bits: nibbles and a plane of bit pairs.
pub(crate) struct Sixes;
/// Eight bits.
pub(crate) struct Bytes;
/// Two bits.
pub(crate) struct Pairs;
/// Three bits: pairs and a plane of third bits.
pub(crate) struct Threes;
/// Nibbles that index [`TABLE`].
pub(crate) struct Table;

/// For [`Nibbles`] and [`Fives`]: the code 0 stands for zero.
pub(crate) const NONE: u32 = u32::MAX;

/// The values of IQ4 types, plus 128.
pub(crate) const TABLE: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

const fn zero(shift: u32) -> Option<u32> {
    if shift == NONE { None } else { Some(shift) }
}

impl<const ZERO: u32> Codes for Nibbles<ZERO> {
    const BYTES: usize = 4 * LINE;
    const ZERO: Option<u32> = zero(ZERO);
    const WIDE: bool = false;

    fn get(block: &[u8], quad: usize, at: usize) -> u8 {
        get_nibble(block, quad, at)
    }
    fn put(quads: &[[u8; LINE]; 8], block: &mut [u8]) {
        put_nibbles(quads, block);
    }
    #[inline(always)]
    unsafe fn quad<S: Simd, const J: usize>(block: *const u8) -> S::Bytes {
        unsafe { nibbles::<S, J>(block) }
    }
}

impl<const ZERO: u32> Codes for Fives<ZERO> {
    const BYTES: usize = 5 * LINE;
    const ZERO: Option<u32> = zero(ZERO);
    const WIDE: bool = false;

    fn get(block: &[u8], quad: usize, at: usize) -> u8 {
        get_nibble(block, quad, at) | get_bits(&block[4 * LINE..], 1, quad, at) << 4
    }
    fn put(quads: &[[u8; LINE]; 8], block: &mut [u8]) {
        let (low, high) = block.split_at_mut(4 * LINE);
        put_nibbles(quads, low);
        put_bits(quads, 4, 1, high);
    }
    #[inline(always)]
    unsafe fn quad<S: Simd, const J: usize>(block: *const u8) -> S::Bytes {
        unsafe { S::or(nibbles::<S, J>(block), plane::<S, J>(block.add(4 * LINE), 1, 4)) }
    }
}

impl Codes for Sixes {
    const BYTES: usize = 6 * LINE;
    const ZERO: Option<u32> = Some(5);
    const WIDE: bool = false;
    const RUN: usize = 2;

    fn get(block: &[u8], quad: usize, at: usize) -> u8 {
        get_nibble(block, quad, at) | get_bits(&block[4 * LINE..], 2, quad, at) << 4
    }
    fn put(quads: &[[u8; LINE]; 8], block: &mut [u8]) {
        let (low, high) = block.split_at_mut(4 * LINE);
        put_nibbles(quads, low);
        put_bits(quads, 4, 2, high);
    }
    #[inline(always)]
    unsafe fn quad<S: Simd, const J: usize>(block: *const u8) -> S::Bytes {
        unsafe { S::or(nibbles::<S, J>(block), plane::<S, J>(block.add(4 * LINE), 2, 4)) }
    }
}

impl Codes for Bytes {
    const BYTES: usize = 8 * LINE;
    const ZERO: Option<u32> = Some(7);
    const WIDE: bool = true;
    const AHEAD: usize = 4096;

    fn get(block: &[u8], quad: usize, at: usize) -> u8 {
        block[quad * LINE + at]
    }
    fn put(quads: &[[u8; LINE]; 8], block: &mut [u8]) {
        block.copy_from_slice(quads.as_flattened());
    }
    #[inline(always)]
    unsafe fn quad<S: Simd, const J: usize>(block: *const u8) -> S::Bytes {
        unsafe { S::load(block.add(J * LINE)) }
    }
}

impl Codes for Pairs {
    const BYTES: usize = 2 * LINE;
    const ZERO: Option<u32> = None;
    const WIDE: bool = false;

    fn get(block: &[u8], quad: usize, at: usize) -> u8 {
        get_bits(block, 2, quad, at)
    }
    fn put(quads: &[[u8; LINE]; 8], block: &mut [u8]) {
        put_bits(quads, 0, 2, block);
    }
    #[inline(always)]
    unsafe fn quad<S: Simd, const J: usize>(block: *const u8) -> S::Bytes {
        unsafe { plane::<S, J>(block, 2, 0) }
    }
}

impl Codes for Threes {
    const BYTES: usize = 3 * LINE;
    const ZERO: Option<u32> = Some(2);
    const WIDE: bool = false;

    fn get(block: &[u8], quad: usize, at: usize) -> u8 {
        get_bits(block, 2, quad, at) | get_bits(&block[2 * LINE..], 1, quad, at) << 2
    }
    fn put(quads: &[[u8; LINE]; 8], block: &mut [u8]) {
        let (low, high) = block.split_at_mut(2 * LINE);
        put_bits(quads, 0, 2, low);
        put_bits(quads, 2, 1, high);
    }
    #[inline(always)]
    unsafe fn quad<S: Simd, const J: usize>(block: *const u8) -> S::Bytes {
        unsafe { S::or(plane::<S, J>(block, 2, 0), plane::<S, J>(block.add(2 * LINE), 1, 2)) }
    }
}

impl Codes for Table {
    const BYTES: usize = 4 * LINE;
    const ZERO: Option<u32> = Some(7);
    const WIDE: bool = true;

    fn get(block: &[u8], quad: usize, at: usize) -> u8 {
        TABLE[usize::from(get_nibble(block, quad, at))]
    }
    /// Takes indices, where [`Codes::get`] gives values.
    fn put(quads: &[[u8; LINE]; 8], block: &mut [u8]) {
        put_nibbles(quads, block);
    }
    #[inline(always)]
    unsafe fn quad<S: Simd, const J: usize>(block: *const u8) -> S::Bytes {
        unsafe { S::look_up(&TABLE, nibbles::<S, J>(block)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<C: Codes>(most: u8) {
        let code = |j: usize, at: usize| ((j * 89 + at * 41 + j * at) % (usize::from(most) + 1)) as u8;
        let quads: [[u8; LINE]; 8] = std::array::from_fn(|j| std::array::from_fn(|at| code(j, at)));
        let mut block = vec![0; C::BYTES];
        C::put(&quads, &mut block);
        for (j, quad) in quads.iter().enumerate() {
            for (at, code) in quad.iter().enumerate() {
                assert_eq!(C::get(&block, j, at), *code);
            }
        }
    }

    #[test]
    fn what_is_put_is_got() {
        round_trip::<Nibbles<NONE>>(15);
        round_trip::<Fives<4>>(31);
        round_trip::<Sixes>(63);
        round_trip::<Bytes>(255);
        round_trip::<Pairs>(3);
        round_trip::<Threes>(7);
    }

    #[test]
    fn a_table_gives_the_values_of_its_indices() {
        let quads = [[0, 15].repeat(LINE / 2).try_into().unwrap(); 8];
        let mut block = vec![0; Table::BYTES];
        Table::put(&quads, &mut block);
        assert_eq!((Table::get(&block, 5, 2), Table::get(&block, 5, 3)), (1, 241));
    }
}
