//! Kernels that go through rows number by number.

use crate::lanes::{LANES, Lanes, kernel, tanh};

/// What is done with a vector of each.
pub(super) trait Zip: Copy {
    /// # Safety
    /// That of [`Lanes`].
    unsafe fn zip<L: Lanes>(self, out: L, x: L) -> L;
}

#[derive(Clone, Copy)]
struct Add;
#[derive(Clone, Copy)]
struct AddScaled(f32);
#[derive(Clone, Copy)]
struct Scale(f32);
#[derive(Clone, Copy)]
struct Cap(f32);

// SAFETY (the functions `zip`): the caller's contract.
impl Zip for Add {
    #[inline(always)]
    unsafe fn zip<L: Lanes>(self, out: L, x: L) -> L {
        unsafe { out.add(x) }
    }
}
impl Zip for AddScaled {
    #[inline(always)]
    unsafe fn zip<L: Lanes>(self, out: L, x: L) -> L {
        unsafe { x.fma(L::splat(self.0), out) }
    }
}
impl Zip for Scale {
    #[inline(always)]
    unsafe fn zip<L: Lanes>(self, out: L, _: L) -> L {
        unsafe { out.mul(L::splat(self.0)) }
    }
}
impl Zip for Cap {
    #[inline(always)]
    unsafe fn zip<L: Lanes>(self, out: L, _: L) -> L {
        unsafe { capped(out, self.0) }
    }
}

/// `cap · tanh(x / cap)`.
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn capped<L: Lanes>(x: L, cap: f32) -> L {
    // SAFETY: the caller's contract.
    unsafe { tanh(x.div(L::splat(cap))).mul(L::splat(cap)) }
}

/// # Safety
/// That of [`Lanes`]; both have `len` numbers, and they are the same or do not overlap.
#[inline(always)]
pub(super) unsafe fn all<L: Lanes>(x: *const f32, out: *mut f32, len: usize, with: impl Zip) {
    // SAFETY: the caller's contract; a vector is within the numbers or in a buffer.
    unsafe {
        let whole = len / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            with.zip(L::load(out.add(at)), L::load(x.add(at))).store(out.add(at));
        }
        let rest = len - whole;
        if rest > 0 {
            let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
            std::ptr::copy_nonoverlapping(out.add(whole), a.as_mut_ptr(), rest);
            std::ptr::copy_nonoverlapping(x.add(whole), b.as_mut_ptr(), rest);
            with.zip(L::load(a.as_ptr()), L::load(b.as_ptr())).store(a.as_mut_ptr());
            std::ptr::copy_nonoverlapping(a.as_ptr(), out.add(whole), rest);
        }
    }
}

kernel! {
    /// `out = out + x`.
    ///
    /// # Panics
    /// They are not equally long.
    pub fn add(x: &[f32], out: &mut [f32]) as add_body {
        assert_eq!(x.len(), out.len(), "sums of rows of other lengths");
    }
}

/// # Safety
/// That of [`Lanes`]; equally long.
#[inline(always)]
unsafe fn add_body<L: Lanes>(x: &[f32], out: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe { all::<L>(x.as_ptr(), out.as_mut_ptr(), out.len(), Add) }
}

kernel! {
    /// `out = out + factor · x`, each in one rounding.
    ///
    /// # Panics
    /// They are not equally long.
    pub fn add_scaled(factor: f32, x: &[f32], out: &mut [f32]) as add_scaled_body {
        assert_eq!(x.len(), out.len(), "sums of rows of other lengths");
    }
}

/// # Safety
/// That of [`Lanes`]; equally long.
#[inline(always)]
unsafe fn add_scaled_body<L: Lanes>(factor: f32, x: &[f32], out: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe { all::<L>(x.as_ptr(), out.as_mut_ptr(), out.len(), AddScaled(factor)) }
}

kernel! {
    /// `x = factor · x`.
    pub fn scale(factor: f32, x: &mut [f32]) as scale_body {}
}

/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn scale_body<L: Lanes>(factor: f32, x: &mut [f32]) {
    // SAFETY: the caller's contract; a row with itself.
    unsafe { all::<L>(x.as_ptr(), x.as_mut_ptr(), x.len(), Scale(factor)) }
}

kernel! {
    /// `x = cap · tanh(x / cap)`.
    pub fn soft_cap(cap: f32, x: &mut [f32]) as cap_body {}
}

/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn cap_body<L: Lanes>(cap: f32, x: &mut [f32]) {
    // SAFETY: the caller's contract; a row with itself.
    unsafe { all::<L>(x.as_ptr(), x.as_mut_ptr(), x.len(), Cap(cap)) }
}
