//! Plain activations with plain weights.

use std::marker::PhantomData;

use super::Meet;
use crate::linear::simd::Simd;
use crate::pack::TILE;

/// A plain type of weights.
pub(super) trait Plain {
    /// Bytes of a weight.
    const BYTES: usize;
    /// 16 of them.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats;
}

/// [`F32`](hearth_model::DType::F32).
pub(super) enum Single {}
/// [`F16`](hearth_model::DType::F16).
pub(super) enum Half {}
/// [`BF16`](hearth_model::DType::BF16).
pub(super) enum Brain {}

// SAFETY (the functions `load`): the caller's contract.
impl Plain for Single {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        unsafe { S::load_f32(from) }
    }
}
impl Plain for Half {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        unsafe { S::load_f16(from) }
    }
}
impl Plain for Brain {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        unsafe { S::load_bf16(from) }
    }
}

/// Plain activations for weights of type `P`.
pub(super) struct Rows<P> {
    x: *const f32,
    inputs: usize,
    weights: PhantomData<P>,
}

impl<P: Plain> Rows<P> {
    pub(super) fn new(x: &[f32], inputs: usize) -> Self {
        Self { x: x.as_ptr(), inputs, weights: PhantomData }
    }
}

impl<P: Plain> Meet for Rows<P> {
    /// Enough to hide the latency of an addition. More rows, whose strides are often
    /// whole pages, would drive each other out of a cache of eight ways.
    const ROWS: usize = 4;

    fn row_bytes(&self) -> usize {
        self.inputs * size_of::<f32>()
    }

    #[inline(always)]
    unsafe fn meet<S: Simd, const R: usize>(&self, tile: *const u8, row: usize) -> [S::Floats; R] {
        // SAFETY: the caller's contract.
        unsafe {
            let row = |r: usize| self.x.add((row + r) * self.inputs);
            let x: [*const f32; R] = std::array::from_fn(row);
            // Of even and of odd inputs: two chains of additions hide their latency
            // where there is one row.
            let mut even = [S::splat(0.0); R];
            let mut odd = [S::splat(0.0); R];
            let mut i = 0;
            while i + 1 < self.inputs {
                let weights = P::load::<S>(tile.add(i * TILE * P::BYTES));
                for r in 0..R {
                    even[r] = S::fused(weights, S::splat(*x[r].add(i)), even[r]);
                }
                let weights = P::load::<S>(tile.add((i + 1) * TILE * P::BYTES));
                for r in 0..R {
                    odd[r] = S::fused(weights, S::splat(*x[r].add(i + 1)), odd[r]);
                }
                i += 2;
            }
            if i < self.inputs {
                let weights = P::load::<S>(tile.add(i * TILE * P::BYTES));
                for r in 0..R {
                    even[r] = S::fused(weights, S::splat(*x[r].add(i)), even[r]);
                }
            }
            for r in 0..R {
                even[r] = S::add(even[r], odd[r]);
            }
            even
        }
    }
}
