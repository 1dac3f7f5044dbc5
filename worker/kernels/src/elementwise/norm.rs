//! Norms, and vectors of unit length.

use crate::lanes::{LANES, Lanes, kernel};

/// What rows of `weight.len()` numbers are normalised by.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Whether the mean is taken off first.
    pub centred: bool,
    /// What normalised rows are multiplied with.
    pub weight: &'a [f32],
    /// What is added after that.
    pub bias: Option<&'a [f32]>,
    /// Added under the root.
    pub epsilon: f32,
}

impl Norm<'_> {
    fn check(&self, x: &[f32]) {
        let width = self.weight.len();
        assert!(width > 0 && x.len().is_multiple_of(width), "a norm of parts of rows");
        assert!(self.bias.is_none_or(|bias| bias.len() == width), "a bias of other rows");
    }
}

kernel! {
    /// `out = (x - m) / √(mean((x - m)²) + epsilon) · weight + bias` for every row, where
    /// `m` is the row's mean, or 0 if the norm isn't centred.
    ///
    /// Numbers and squares are summed in 16 lanes, element `i` in lane `i % 16`, which
    /// are then summed by halves.
    ///
    /// # Panics
    /// `x` is not whole rows, `out` does not have its length, or the bias not the weight's.
    pub fn normalize(norm: &Norm<'_>, x: &[f32], out: &mut [f32]) as apart {
        assert_eq!(x.len(), out.len(), "a norm of rows of another length");
        norm.check(x);
    }
}

kernel! {
    /// As [`normalize`], in place.
    ///
    /// # Panics
    /// `x` is not whole rows, or the bias is of others.
    pub fn normalize_in_place(norm: &Norm<'_>, x: &mut [f32]) as in_place {
        norm.check(x);
    }
}

kernel! {
    /// Divides every row of `width` numbers by its Euclidean length; a row of zeros stays.
    ///
    /// # Panics
    /// `x` is not whole rows.
    pub fn unit_length(width: usize, x: &mut [f32]) as unit_body {
        assert!(width > 0 && x.len().is_multiple_of(width), "lengths of parts of rows");
    }
}

/// # Safety
/// That of [`Lanes`]; whole rows, equally long.
#[inline(always)]
unsafe fn apart<L: Lanes>(norm: &Norm<'_>, x: &[f32], out: &mut [f32]) {
    let width = norm.weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        // SAFETY: the caller's contract; rows of the weight's length.
        unsafe { row::<L>(norm, x.as_ptr(), out.as_mut_ptr()) };
    }
}

/// # Safety
/// That of [`Lanes`]; whole rows.
#[inline(always)]
unsafe fn in_place<L: Lanes>(norm: &Norm<'_>, x: &mut [f32]) {
    for x in x.chunks_exact_mut(norm.weight.len()) {
        // SAFETY: the caller's contract; a row of the weight's length, and itself.
        unsafe { row::<L>(norm, x.as_ptr(), x.as_mut_ptr()) };
    }
}

/// # Safety
/// That of [`Lanes`]; whole rows.
#[inline(always)]
unsafe fn unit_body<L: Lanes>(width: usize, x: &mut [f32]) {
    for x in x.chunks_exact_mut(width) {
        let row = Row { x: x.as_ptr(), len: width };
        // SAFETY: the caller's contract; a row, and itself.
        unsafe {
            let length = row.squares(L::splat(0.0)).sqrt();
            // Nothing but zeros has a smaller length: squares below vanish.
            let length = L::splat(if length < 1e-20 { 1e-20 } else { length });
            for at in (0..width).step_by(LANES) {
                row.store(x.as_mut_ptr(), at, row.vector::<L>(at).div(length));
            }
        }
    }
}

/// # Safety
/// That of [`Lanes`]; `x`, `out` and the bias have the weight's length, and `x` and `out`
/// are the same or do not overlap.
#[inline(always)]
unsafe fn row<L: Lanes>(norm: &Norm<'_>, x: *const f32, out: *mut f32) {
    let Norm { centred, weight, bias, epsilon } = *norm;
    let (row, len) = (Row { x, len: weight.len() }, weight.len());
    let weight = Row { x: weight.as_ptr(), len };
    // SAFETY: the caller's contract.
    unsafe {
        let mean = L::splat(if centred { row.sum::<L>() / len as f32 } else { 0.0 });
        let factor = L::splat(1.0 / (row.squares(mean) / len as f32 + epsilon).sqrt());
        for at in (0..len).step_by(LANES) {
            let mut x = row.vector::<L>(at);
            if centred {
                x = x.sub(mean);
            }
            x = x.mul(factor).mul(weight.vector(at));
            if let Some(bias) = bias {
                x = x.add(Row { x: bias.as_ptr(), len }.vector(at));
            }
            row.store(out, at, x);
        }
    }
}

/// The numbers of a row, in vectors, of which the last may be filled up with zeros.
#[derive(Clone, Copy)]
struct Row {
    x: *const f32,
    len: usize,
}

// SAFETY (of all functions): that of [`Lanes`]; the row is there. Vectors are within it,
// or go through a buffer.
impl Row {
    #[inline(always)]
    unsafe fn vector<L: Lanes>(self, at: usize) -> L {
        unsafe {
            if at + LANES <= self.len {
                return L::load(self.x.add(at));
            }
            let mut lanes = [0.0; LANES];
            std::ptr::copy_nonoverlapping(self.x.add(at), lanes.as_mut_ptr(), self.len - at);
            L::load(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn sum<L: Lanes>(self) -> f32 {
        unsafe {
            let mut sum = L::splat(0.0);
            for at in (0..self.len).step_by(LANES) {
                sum = sum.add(self.vector(at));
            }
            sum.sum()
        }
    }

    /// Of the squares of what is left without the mean.
    #[inline(always)]
    unsafe fn squares<L: Lanes>(self, mean: L) -> f32 {
        unsafe {
            let whole = self.len / LANES * LANES;
            let mut squares = L::splat(0.0);
            for at in (0..whole).step_by(LANES) {
                let x = self.vector::<L>(at).sub(mean);
                squares = x.fma(x, squares);
            }
            if whole < self.len {
                // What fills the vector up has no mean to be rid of.
                let mut lanes = self.vector::<L>(whole).sub(mean).lanes();
                lanes[self.len - whole..].fill(0.0);
                let x = L::load(lanes.as_ptr());
                squares = x.fma(x, squares);
            }
            squares.sum()
        }
    }

    /// Writes the vector that starts at `at` to the same place of another row.
    #[inline(always)]
    unsafe fn store<L: Lanes>(self, out: *mut f32, at: usize, x: L) {
        unsafe {
            if at + LANES <= self.len {
                x.store(out.add(at));
            } else {
                std::ptr::copy_nonoverlapping(x.lanes().as_ptr(), out.add(at), self.len - at);
            }
        }
    }
}
