//! Writing a token's keys and values.

use half::f16;

use super::{BLOCK, Kind, PAGE_TOKENS, PageForm};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, kernel};

impl PageForm {
    /// Writes the keys and values of all heads, next to each other, of the token in
    /// slot `slot` of the page.
    ///
    /// # Panics
    /// The page is not of this form, there is no such slot, or the keys or values are
    /// not those of all heads.
    pub fn append(&self, isa: Isa, page: &mut [u8], slot: usize, keys: &[f32], values: &[f32]) {
        assert_eq!(page.len(), self.bytes(), "a page of another form");
        assert!(slot < PAGE_TOKENS, "no slot {slot}");
        assert_eq!(keys.len(), self.kv_heads * self.key_dim, "keys of other heads");
        assert_eq!(values.len(), self.kv_heads * self.value_dim, "values of other heads");
        let heads = page.chunks_exact_mut(self.head_bytes);
        let vectors = keys.chunks_exact(self.key_dim).zip(values.chunks_exact(self.value_dim));
        for (head, (key, value)) in heads.zip(vectors) {
            let (key_part, value_part) = head.split_at_mut(self.key_bytes);
            match self.kind {
                Kind::F32 => {
                    for (line, x) in key_part.chunks_exact_mut(4 * PAGE_TOKENS).zip(key) {
                        line[4 * slot..][..4].copy_from_slice(&x.to_ne_bytes());
                    }
                    let row = &mut value_part[4 * slot * self.value_stride()..][..4 * self.value_dim];
                    for (to, x) in row.chunks_exact_mut(4).zip(value) {
                        to.copy_from_slice(&x.to_ne_bytes());
                    }
                }
                Kind::F16 => {
                    for (chunk, lines) in key.chunks(LANES).zip(key_part.chunks_mut(LANES * 2 * PAGE_TOKENS))
                    {
                        let halves = halves(isa, chunk);
                        for (line, half) in lines.chunks_exact_mut(2 * PAGE_TOKENS).zip(halves) {
                            line[2 * slot..][..2].copy_from_slice(&half.to_ne_bytes());
                        }
                    }
                    let row = &mut value_part[2 * slot * self.value_stride()..][..2 * self.value_dim];
                    for (chunk, to) in value.chunks(LANES).zip(row.chunks_mut(2 * LANES)) {
                        for (to, half) in to.chunks_exact_mut(2).zip(halves(isa, chunk)) {
                            to.copy_from_slice(&half.to_ne_bytes());
                        }
                    }
                }
                Kind::Q8_0 => {
                    let blocks = self.key_dim.div_ceil(BLOCK);
                    let (codes, scales) = key_part.split_at_mut(blocks * BLOCK * PAGE_TOKENS);
                    for (b, x) in key.chunks(BLOCK).enumerate() {
                        let (scale, quantized) = quantize(x);
                        let lines = codes[b * BLOCK * PAGE_TOKENS..].chunks_exact_mut(PAGE_TOKENS);
                        for (line, code) in lines.zip(&quantized[..x.len()]) {
                            line[slot] = *code as u8;
                        }
                        scales[2 * (b * PAGE_TOKENS + slot)..][..2].copy_from_slice(&scale.to_ne_bytes());
                    }
                    let stride = self.value_stride();
                    let (codes, scales) = value_part.split_at_mut(stride * PAGE_TOKENS);
                    for (b, x) in value.chunks(BLOCK).enumerate() {
                        let (scale, quantized) = quantize(x);
                        let row = &mut codes[slot * stride + b * BLOCK..][..x.len()];
                        for (to, code) in row.iter_mut().zip(quantized) {
                            *to = code as u8;
                        }
                        scales[2 * (slot * (stride / BLOCK) + b)..][..2]
                            .copy_from_slice(&scale.to_ne_bytes());
                    }
                }
            }
        }
    }
}

/// Up to 16 numbers in half precision.
#[inline(always)]
fn halves(isa: Isa, x: &[f32]) -> [u16; LANES] {
    let mut lanes = [0.0; LANES];
    lanes[..x.len()].copy_from_slice(x);
    narrow(isa, &lanes)
}

kernel! {
    fn narrow(x: &[f32; LANES]) -> [u16; LANES] as narrow_body {}
}

/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn narrow_body<L: Lanes>(x: &[f32; LANES]) -> [u16; LANES] {
    let mut halves = [0; LANES];
    // SAFETY: the caller's contract; as many numbers.
    unsafe { L::load(x.as_ptr()).store_f16(halves.as_mut_ptr()) };
    halves
}

/// The scale, and the codes for the scale as it is kept: the largest of a block
/// becomes 127. What is not finite makes the scale no number.
fn quantize(x: &[f32]) -> (f16, [i8; BLOCK]) {
    // The bits of magnitudes order as the magnitudes do, and NaN comes last.
    let most = x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let most = f32::from_bits(most);
    let mut codes = [0; BLOCK];
    if !most.is_finite() {
        return (f16::NAN, codes);
    }
    let scale = f16::from_f32(most / 127.0);
    let kept = scale.to_f32();
    if kept > 0.0 {
        for (code, x) in codes.iter_mut().zip(x) {
            *code = (x / kept).round_ties_even().clamp(-127.0, 127.0) as i8;
        }
    }
    (scale, codes)
}
