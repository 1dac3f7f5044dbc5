//! Blocks of 32. The low nibbles of 4-bit types are the first 16 elements, the
//! high nibbles the last 16.

use super::{half_at, signed};

pub(super) fn q8_0(b: &[u8], y: &mut [f32]) {
    let d = half_at(b, 0);
    for (y, q) in y.iter_mut().zip(&b[2..]) {
        *y = signed(*q) * d;
    }
}

pub(super) fn q4_0(b: &[u8], y: &mut [f32]) {
    let d = half_at(b, 0);
    nibbles(&b[2..], y, |q| (f32::from(q) - 8.0) * d);
}

pub(super) fn q4_1(b: &[u8], y: &mut [f32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    nibbles(&b[4..], y, |q| f32::from(q) * d + m);
}

pub(super) fn q5_0(b: &[u8], y: &mut [f32]) {
    let d = half_at(b, 0);
    fives(&b[2..], y, |q| (f32::from(q) - 16.0) * d);
}

pub(super) fn q5_1(b: &[u8], y: &mut [f32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    fives(&b[4..], y, |q| f32::from(q) * d + m);
}

/// 16 bytes of nibbles to 32 elements.
pub(super) fn nibbles(qs: &[u8], y: &mut [f32], value: impl Fn(u8) -> f32) {
    let (low, high) = y.split_at_mut(16);
    for ((q, low), high) in qs.iter().zip(low).zip(high) {
        *low = value(q & 15);
        *high = value(q >> 4);
    }
}

/// Four bytes of fifth bits, one an element, and 16 bytes of nibbles.
fn fives(b: &[u8], y: &mut [f32], value: impl Fn(u8) -> f32) {
    let fifths = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let fifth = |i: usize| ((fifths >> i & 1) as u8) << 4;
    for (i, q) in b[4..20].iter().enumerate() {
        y[i] = value(q & 15 | fifth(i));
        y[i + 16] = value(q >> 4 | fifth(i + 16));
    }
}
