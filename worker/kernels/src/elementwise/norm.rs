//! Root-mean-square norms.

use crate::lanes::{LANES, Lanes, kernel};

kernel! {
    /// `out = x / rms(x) · weight` for every row of `weight.len()` numbers, where
    /// rms(x) is the root of the mean square plus `epsilon`.
    ///
    /// Squares are summed in 16 lanes, element `i` in lane `i % 16`, which are then
    /// summed by halves.
    ///
    /// # Panics
    /// `x` is not whole rows, or `out` does not have its length.
    pub fn rms_norm(weight: &[f32], epsilon: f32, x: &[f32], out: &mut [f32]) as apart {
        assert_eq!(x.len(), out.len(), "a norm of rows of another length");
        assert!(!weight.is_empty() && x.len().is_multiple_of(weight.len()), "a norm of parts of rows");
    }
}

kernel! {
    /// As [`rms_norm`], in place.
    ///
    /// # Panics
    /// `x` is not whole rows.
    pub fn rms_norm_in_place(weight: &[f32], epsilon: f32, x: &mut [f32]) as in_place {
        assert!(!weight.is_empty() && x.len().is_multiple_of(weight.len()), "a norm of parts of rows");
    }
}

/// # Safety
/// That of [`Lanes`]; whole rows, equally long.
#[inline(always)]
unsafe fn apart<L: Lanes>(weight: &[f32], epsilon: f32, x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        // SAFETY: the caller's contract; rows of the weight's length.
        unsafe { row::<L>(weight, epsilon, x.as_ptr(), out.as_mut_ptr()) };
    }
}

/// # Safety
/// That of [`Lanes`]; whole rows.
#[inline(always)]
unsafe fn in_place<L: Lanes>(weight: &[f32], epsilon: f32, x: &mut [f32]) {
    for x in x.chunks_exact_mut(weight.len()) {
        // SAFETY: the caller's contract; a row of the weight's length, and itself.
        unsafe { row::<L>(weight, epsilon, x.as_ptr(), x.as_mut_ptr()) };
    }
}

/// # Safety
/// That of [`Lanes`]; `x` and `out` have the weight's length, and are the same or do
/// not overlap.
#[inline(always)]
unsafe fn row<L: Lanes>(weight: &[f32], epsilon: f32, x: *const f32, out: *mut f32) {
    // SAFETY: the caller's contract; what is not a whole vector goes through a buffer.
    unsafe {
        let len = weight.len();
        let whole = len / LANES * LANES;
        let tail = |from: *const f32| {
            let mut lanes = [0.0; LANES];
            std::ptr::copy_nonoverlapping(from.add(whole), lanes.as_mut_ptr(), len - whole);
            lanes
        };
        let mut squares = L::splat(0.0);
        for at in (0..whole).step_by(LANES) {
            let x = L::load(x.add(at));
            squares = x.fma(x, squares);
        }
        if whole < len {
            let x = L::load(tail(x).as_ptr());
            squares = x.fma(x, squares);
        }
        let factor = L::splat(1.0 / (squares.sum() / len as f32 + epsilon).sqrt());
        for at in (0..whole).step_by(LANES) {
            L::load(x.add(at)).mul(factor).mul(L::load(weight.as_ptr().add(at))).store(out.add(at));
        }
        if whole < len {
            let x = L::load(tail(x).as_ptr()).mul(factor).mul(L::load(tail(weight.as_ptr()).as_ptr()));
            std::ptr::copy_nonoverlapping(x.lanes().as_ptr(), out.add(whole), len - whole);
        }
    }
}
