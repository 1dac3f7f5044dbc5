//! Blocks as files hold them, taken apart into codes and scales.
//!
//! `hearth_model::dequant` documents the forms; a test holds the two against each
//! other.

use hearth_model::DType;

/// From a block to the codes of its elements.
type WriteCodes = fn(&[u8], &mut [u8]);
/// From a block to the head of a group, given its place in the group and its output.
type WriteScales = fn(&[u8], usize, usize, &mut [u8]);

/// How a type's blocks are taken apart. Slices passed have exactly a block's size.
pub(super) struct Source {
    /// Elements of a block: 32 or 256.
    pub(super) len: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    /// Writes the codes of a block in the order of its elements.
    pub(super) codes: WriteCodes,
    /// Writes a block's scales into the head of a group.
    pub(super) scales: WriteScales,
}

impl Source {
    /// For quantized types that have a packed form.
    pub(super) fn of(dtype: DType) -> Option<Self> {
        let (codes, scales): (WriteCodes, WriteScales) = match dtype {
            DType::Q4_0 | DType::IQ4_NL => (|b, to| nibbles(&b[2..], to), half),
            DType::Q4_1 => (|b, to| nibbles(&b[4..], to), half_pair),
            DType::Q5_0 => (|b, to| fives(&b[2..], to), half),
            DType::Q5_1 => (|b, to| fives(&b[4..], to), half_pair),
            DType::Q8_0 => (bytes, half),
            DType::Q2_K => (|b, to| pairs(&b[16..80], to), super_nibbles),
            DType::Q3_K => (threes, threes_scales),
            DType::Q4_K => (|b, to| wide_nibbles(&b[16..144], to), super_pairs),
            DType::Q5_K => (wide_fives, super_pairs),
            DType::Q6_K => (sixes, sixes_scales),
            DType::IQ4_XS => (xs, xs_scales),
            _ => return None,
        };
        let (len, bytes) = (dtype.block_len() as usize, dtype.block_bytes() as usize);
        Some(Self { len, bytes, codes, scales })
    }
}

/// Copies the two bytes at `at` to the place of `output` in the line at `line`.
fn copy_half(from: &[u8], at: usize, head: &mut [u8], line: usize, output: usize) {
    head[line + 2 * output..][..2].copy_from_slice(&from[at..at + 2]);
}

fn half(b: &[u8], block: usize, output: usize, head: &mut [u8]) {
    copy_half(b, 0, head, block * 32, output);
}

fn half_pair(b: &[u8], block: usize, output: usize, head: &mut [u8]) {
    copy_half(b, 0, head, block * 64, output);
    copy_half(b, 2, head, block * 64 + 32, output);
}

fn super_pairs(b: &[u8], _: usize, output: usize, head: &mut [u8]) {
    copy_half(b, 0, head, 0, output);
    copy_half(b, 2, head, 32, output);
    let s = &b[4..16];
    for j in 0..8 {
        let (scale, min) = if j < 4 {
            (s[j] & 63, s[j + 4] & 63)
        } else {
            (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
        };
        head[64 + j * 32 + output] = scale;
        head[64 + j * 32 + 16 + output] = min;
    }
}

fn super_nibbles(b: &[u8], _: usize, output: usize, head: &mut [u8]) {
    copy_half(b, 80, head, 0, output);
    copy_half(b, 82, head, 32, output);
    for (line, scales) in head[64..].chunks_exact_mut(16).zip(&b[..16]) {
        line[output] = *scales;
    }
}

fn sixes_scales(b: &[u8], _: usize, output: usize, head: &mut [u8]) {
    copy_half(b, 208, head, 0, output);
    for (line, scale) in head[32..].chunks_exact_mut(16).zip(&b[192..208]) {
        line[output] = *scale;
    }
}

fn threes_scales(b: &[u8], _: usize, output: usize, head: &mut [u8]) {
    copy_half(b, 108, head, 0, output);
    let s = &b[96..108];
    for g in 0..16 {
        let low = s[g % 8] >> (4 * (g / 8)) & 15;
        let high = s[8 + g % 4] >> (2 * (g / 4)) & 3;
        head[32 + g * 16 + output] = (low | high << 4).wrapping_sub(32);
    }
}

fn xs_scales(b: &[u8], _: usize, output: usize, head: &mut [u8]) {
    copy_half(b, 0, head, 0, output);
    let high = u16::from_le_bytes([b[2], b[3]]);
    for j in 0..8 {
        let low = b[4 + j / 2] >> (4 * (j % 2)) & 15;
        let high = (high >> (2 * j) & 3) as u8;
        head[32 + j * 16 + output] = (low | high << 4).wrapping_sub(32);
    }
}

/// 16 bytes: elements 0 to 15 in the low halves, 16 to 31 in the high ones.
fn nibbles(from: &[u8], to: &mut [u8]) {
    let (low, high) = to.split_at_mut(16);
    for ((from, low), high) in from.iter().zip(low).zip(high) {
        *low = from & 15;
        *high = from >> 4;
    }
}

/// Four bytes of fifth bits, one an element, and 16 bytes of nibbles.
fn fives(b: &[u8], to: &mut [u8]) {
    nibbles(&b[4..20], to);
    for (bits, to) in b[..4].iter().zip(to.as_chunks_mut::<8>().0) {
        // Bit k alone in byte k; its carry in the top bit of that byte; there as 16.
        let alone = (u64::from(*bits) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
        let fifths = ((alone + 0x7f7f_7f7f_7f7f_7f7f) >> 3) & 0x1010_1010_1010_1010;
        *to = (u64::from_le_bytes(*to) | fifths).to_le_bytes();
    }
}

fn bytes(b: &[u8], to: &mut [u8]) {
    for (from, to) in b[2..].iter().zip(to) {
        *to = from ^ 0x80;
    }
}

/// Each 32 bytes: one group of 32 in the low halves, the next in the high ones.
fn wide_nibbles(from: &[u8], to: &mut [u8]) {
    for (from, to) in from.chunks_exact(32).zip(to.chunks_exact_mut(64)) {
        let (low, high) = to.split_at_mut(32);
        for ((from, low), high) in from.iter().zip(low).zip(high) {
            *low = from & 15;
            *high = from >> 4;
        }
    }
}

fn wide_fives(b: &[u8], to: &mut [u8]) {
    wide_nibbles(&b[48..176], to);
    for (j, to) in to.chunks_exact_mut(32).enumerate() {
        for (to, fifths) in to.iter_mut().zip(&b[16..48]) {
            *to |= (fifths >> j & 1) << 4;
        }
    }
}

/// Halves of 128 elements: groups 0 to 3 of 32 are nibbles low, low, high, high of
/// 64 bytes and bit pairs 0 to 3 of 32.
fn sixes(b: &[u8], to: &mut [u8]) {
    for (g, to) in to.chunks_exact_mut(32).enumerate() {
        let (half, group) = (g / 4, g % 4);
        let low = &b[half * 64 + group % 2 * 32..][..32];
        let high = &b[128 + half * 32..][..32];
        for ((to, low), high) in to.iter_mut().zip(low).zip(high) {
            *to = low >> (4 * (group / 2)) & 15 | (high >> (2 * group) & 3) << 4;
        }
    }
}

/// Halves of 128 elements: groups 0 to 3 of 32 are bit pairs 0 to 3 of 32 bytes.
fn pairs(from: &[u8], to: &mut [u8]) {
    for (g, to) in to.chunks_exact_mut(32).enumerate() {
        for (to, from) in to.iter_mut().zip(&from[g / 4 * 32..]) {
            *to = from >> (2 * (g % 4)) & 3;
        }
    }
}

fn threes(b: &[u8], to: &mut [u8]) {
    pairs(&b[32..96], to);
    for (g, to) in to.chunks_exact_mut(32).enumerate() {
        for (to, thirds) in to.iter_mut().zip(&b[..32]) {
            *to |= (thirds >> g & 1) << 2;
        }
    }
}

fn xs(b: &[u8], to: &mut [u8]) {
    for (from, to) in b[8..].chunks_exact(16).zip(to.chunks_exact_mut(32)) {
        nibbles(from, to);
    }
}
