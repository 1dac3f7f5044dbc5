//! Blocks of 256 in groups of 16 or 32, with quantized scales.

use super::{half_at, signed};

/// 6-bit scale and minimum of group `j` of 8, packed in 12 bytes: the first four
/// of each lie in the low six bits of bytes 0 to 7; of the last four the low
/// nibbles lie in bytes 8 to 11 and the high bits on top of bytes 0 to 7.
fn scale_min(s: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// `d`, `dmin`, 12 bytes of scales, 128 bytes of nibbles: each 32 bytes hold one
/// group in their low nibbles and the next in their high ones.
pub(super) fn q4(b: &[u8], y: &mut [f32]) {
    let (d, dmin, scales, qs) = (half_at(b, 0), half_at(b, 2), &b[4..16], &b[16..144]);
    for (j, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min(scales, j);
        let (scale, min) = (d * scale, dmin * min);
        let shift = 4 * (j % 2);
        for (y, q) in y.iter_mut().zip(&qs[j / 2 * 32..]) {
            *y = scale * f32::from(q >> shift & 15) - min;
        }
    }
}

/// As [`q4`], with 32 bytes of fifth bits before the nibbles: bit `j` of byte `l`
/// belongs to element `l` of group `j`.
pub(super) fn q5(b: &[u8], y: &mut [f32]) {
    let (d, dmin, scales, high, qs) = (half_at(b, 0), half_at(b, 2), &b[4..16], &b[16..48], &b[48..176]);
    for (j, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min(scales, j);
        let (scale, min) = (d * scale, dmin * min);
        let shift = 4 * (j % 2);
        for ((y, q), h) in y.iter_mut().zip(&qs[j / 2 * 32..]).zip(high) {
            *y = scale * f32::from(q >> shift & 15 | (h >> j & 1) << 4) - min;
        }
    }
}

/// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, `d`. A half
/// of 128 elements is four groups of 32: nibbles low, low, high, high of its 64
/// bytes, and bit pairs 0 to 3 of its 32.
pub(super) fn q6(b: &[u8], y: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half_at(b, 208));
    for (g, y) in y.chunks_exact_mut(32).enumerate() {
        let (half, group) = (g / 4, g % 4);
        let low = &low[half * 64 + group % 2 * 32..];
        let high = &high[half * 32..];
        for (l, y) in y.iter_mut().enumerate() {
            let scale = d * signed(scales[half * 8 + group * 2 + l / 16]);
            let q = low[l] >> (4 * (group / 2)) & 15 | (high[l] >> (2 * group) & 3) << 4;
            *y = scale * (f32::from(q) - 32.0);
        }
    }
}

/// 16 bytes of 4-bit scales and minima, 64 bytes of bit pairs, `d`, `dmin`. Each
/// half of 128 elements takes bit pairs 0 to 3 of its 32 bytes in turn.
pub(super) fn q2(b: &[u8], y: &mut [f32]) {
    let (scales, qs, d, dmin) = (&b[..16], &b[16..80], half_at(b, 80), half_at(b, 82));
    for (g, y) in y.chunks_exact_mut(16).enumerate() {
        let (half, group) = (g / 8, g % 8);
        let (scale, min) = (d * f32::from(scales[g] & 15), dmin * f32::from(scales[g] >> 4));
        for (y, q) in y.iter_mut().zip(&qs[half * 32 + group % 2 * 16..]) {
            *y = scale * f32::from(q >> (2 * (group / 2)) & 3) - min;
        }
    }
}

/// 32 bytes of inverted third bits, 64 bytes of bit pairs, 12 bytes of 6-bit
/// scales, `d`. Elements lie as in [`q2`]; third bits take bits 0 to 7 in turn.
pub(super) fn q3(b: &[u8], y: &mut [f32]) {
    let (third, qs, scales, d) = (&b[..32], &b[32..96], &b[96..108], half_at(b, 108));
    for (g, y) in y.chunks_exact_mut(16).enumerate() {
        let (half, group) = (g / 8, g % 8);
        let low = scales[g % 8] >> (4 * (g / 8)) & 15;
        let high = scales[8 + g % 4] >> (2 * (g / 4)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let at = group % 2 * 16;
        let bit = g / 2;
        for ((y, q), t) in y.iter_mut().zip(&qs[half * 32 + at..]).zip(&third[at..]) {
            let less = if t >> bit & 1 == 1 { 0.0 } else { 4.0 };
            *y = scale * (f32::from(q >> (2 * (group / 2)) & 3) - less);
        }
    }
}
