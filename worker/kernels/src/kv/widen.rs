//! A page's keys and values in `f32`.

use super::{BLOCK, Kind, PAGE_TOKENS, PageForm};
use crate::lanes::{LANES, Lanes};

/// Writes a head's keys, `[key_dim][32 tokens]`.
///
/// # Safety
/// That of [`Lanes`]. `keys` is the part of a page of the form; `out` has
/// `key_dim * 32` numbers.
#[inline(always)]
pub(crate) unsafe fn widen_keys<L: Lanes>(form: &PageForm, keys: &[u8], out: &mut [f32]) {
    debug_assert!(out.len() >= form.key_dim * PAGE_TOKENS && keys.len() == form.key_bytes);
    // SAFETY: the caller's contract: vectors are within the keys and within `out`.
    unsafe {
        let (from, to) = (keys.as_ptr(), out.as_mut_ptr());
        let len = form.key_dim * PAGE_TOKENS;
        match form.kind {
            Kind::F32 => std::ptr::copy_nonoverlapping(from, to.cast(), 4 * len),
            Kind::F16 => {
                for at in (0..len).step_by(LANES) {
                    L::load_f16(from.cast::<u16>().add(at)).store(to.add(at));
                }
            }
            Kind::Q8_0 => {
                let blocks = form.key_dim.div_ceil(BLOCK);
                let scales = from.add(blocks * BLOCK * PAGE_TOKENS).cast::<u16>();
                for b in 0..blocks {
                    let first = L::load_f16(scales.add(b * PAGE_TOKENS));
                    let second = L::load_f16(scales.add(b * PAGE_TOKENS + LANES));
                    for d in b * BLOCK..form.key_dim.min((b + 1) * BLOCK) {
                        let at = d * PAGE_TOKENS;
                        L::load_i8(from.cast::<i8>().add(at)).mul(first).store(to.add(at));
                        let at = at + LANES;
                        L::load_i8(from.cast::<i8>().add(at)).mul(second).store(to.add(at));
                    }
                }
            }
        }
    }
}

/// Writes a head's values, `[32 tokens][padded value_dim]`.
///
/// # Safety
/// That of [`Lanes`]. `values` is the part of a page of the form; `out` has
/// `32 * padded_value_dim` numbers.
#[inline(always)]
pub(crate) unsafe fn widen_values<L: Lanes>(form: &PageForm, values: &[u8], out: &mut [f32]) {
    let width = form.padded_value_dim();
    debug_assert!(out.len() >= width * PAGE_TOKENS && values.len() == form.head_bytes - form.key_bytes);
    // SAFETY: as above.
    unsafe {
        let (from, to) = (values.as_ptr(), out.as_mut_ptr());
        match form.kind {
            Kind::F32 => std::ptr::copy_nonoverlapping(from, to.cast(), 4 * width * PAGE_TOKENS),
            Kind::F16 => {
                for at in (0..width * PAGE_TOKENS).step_by(LANES) {
                    L::load_f16(from.cast::<u16>().add(at)).store(to.add(at));
                }
            }
            Kind::Q8_0 => {
                let stride = form.value_stride();
                let blocks = stride / BLOCK;
                let scales = from.add(stride * PAGE_TOKENS).cast::<u16>();
                // Scales of 16 neighbours, in `[tokens][blocks]`, at a time.
                for some in (0..PAGE_TOKENS * blocks).step_by(LANES) {
                    let scale = L::load_f16(scales.add(some)).lanes();
                    for (i, scale) in scale.into_iter().enumerate() {
                        let (token, b) = ((some + i) / blocks, (some + i) % blocks);
                        for d in (b * BLOCK..width.min((b + 1) * BLOCK)).step_by(LANES) {
                            let codes = L::load_i8(from.cast::<i8>().add(token * stride + d));
                            codes.mul(L::splat(scale)).store(to.add(token * width + d));
                        }
                    }
                }
            }
        }
    }
}
