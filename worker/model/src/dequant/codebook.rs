//! Types whose nibbles index a table.

use super::half_at;
use super::simple::nibbles;

/// Denser around zero, as weights are.
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn value(nibble: u8) -> f32 {
    f32::from(VALUES[usize::from(nibble)])
}

pub(super) fn iq4_nl(b: &[u8], y: &mut [f32]) {
    let d = half_at(b, 0);
    nibbles(&b[2..], y, |q| d * value(q));
}

/// `d`, 16 high bit pairs of the scales, 4 bytes of their low nibbles, then
/// 8 groups of 16 bytes.
pub(super) fn iq4_xs(b: &[u8], y: &mut [f32]) {
    let d = half_at(b, 0);
    let high = u16::from_le_bytes([b[2], b[3]]);
    for (j, (y, qs)) in y.chunks_exact_mut(32).zip(b[8..].chunks_exact(16)).enumerate() {
        let low = b[4 + j / 2] >> (4 * (j % 2)) & 15;
        let high = (high >> (2 * j) & 3) as u8;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        nibbles(qs, y, |q| scale * value(q));
    }
}
