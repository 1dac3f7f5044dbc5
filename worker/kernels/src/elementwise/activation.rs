//! Activations, alone and as gates.

use hearth_model::arch::Activation;

use super::zip::{Zip, all};
use crate::lanes::{Lanes, exp, kernel, sigmoid};

kernel! {
    /// `out = activation(gate) · out`.
    ///
    /// # Panics
    /// They are not equally long.
    pub fn gate(activation: Activation, gate: &[f32], out: &mut [f32]) as gate_body {
        assert_eq!(gate.len(), out.len(), "gates of another length");
    }
}

kernel! {
    /// `x = activation(x)`.
    pub fn activate(activation: Activation, x: &mut [f32]) as activate_body {}
}

/// # Safety
/// That of [`Lanes`]; equally long.
#[inline(always)]
unsafe fn gate_body<L: Lanes>(activation: Activation, gate: &[f32], out: &mut [f32]) {
    let (gate, len, out) = (gate.as_ptr(), out.len(), out.as_mut_ptr());
    // SAFETY: the caller's contract.
    unsafe {
        match activation {
            Activation::Silu => all::<L>(gate, out, len, Gate(Silu)),
            Activation::Gelu => all::<L>(gate, out, len, Gate(Gelu)),
            Activation::GeluTanh => all::<L>(gate, out, len, Gate(GeluTanh)),
        }
    }
}

/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn activate_body<L: Lanes>(activation: Activation, x: &mut [f32]) {
    let (len, x) = (x.len(), x.as_mut_ptr());
    // SAFETY: the caller's contract; a row with itself.
    unsafe {
        match activation {
            Activation::Silu => all::<L>(x, x, len, Alone(Silu)),
            Activation::Gelu => all::<L>(x, x, len, Alone(Gelu)),
            Activation::GeluTanh => all::<L>(x, x, len, Alone(GeluTanh)),
        }
    }
}

/// A function of each number.
trait Function: Copy {
    /// # Safety
    /// That of [`Lanes`].
    unsafe fn of<L: Lanes>(self, x: L) -> L;
}

#[derive(Clone, Copy)]
struct Silu;
#[derive(Clone, Copy)]
struct Gelu;
#[derive(Clone, Copy)]
struct GeluTanh;

// SAFETY (the functions `of`): the caller's contract.
impl Function for Silu {
    #[inline(always)]
    unsafe fn of<L: Lanes>(self, x: L) -> L {
        unsafe { x.mul(sigmoid(x)) }
    }
}
impl Function for GeluTanh {
    #[inline(always)]
    unsafe fn of<L: Lanes>(self, x: L) -> L {
        /// Twice the root of 2 / π.
        const A: f32 = 1.595_769;
        const B: f32 = 0.044_715;
        unsafe {
            // x · (1 + tanh y) / 2 is x / (1 + exp(−2y)).
            let cubic = x.mul(x).mul(x).fma(L::splat(B), x);
            x.mul(sigmoid(cubic.mul(L::splat(A))))
        }
    }
}
impl Function for Gelu {
    /// With a = |x| and Φ the normal distribution, x · Φ(x) is max(x, 0) − a · Φ(−a), and
    /// Φ(−a) = exp(−a² / 2) · t · P(t), where t = 1 / (1 + 0.3 a), within 1.5e-7 of itself:
    /// P is fitted to the smallest relative error on 0 ≤ a ≤ 14.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "an index stays in the function that has the target features"
    )]
    unsafe fn of<L: Lanes>(self, x: L) -> L {
        /// Highest power first.
        const P: [f32; 8] = [
            0.035_676_837,
            -0.157_211_26,
            0.206_366_97,
            -0.053_695_515,
            0.128_567_67,
            0.099_911_73,
            0.120_754_23,
            0.119_629_28,
        ];
        unsafe {
            let zero = L::splat(0.0);
            let a = x.max(zero.sub(x));
            let t = L::splat(1.0).div(a.fma(L::splat(0.3), L::splat(1.0)));
            let mut p = L::splat(P[0]);
            for i in 1..P.len() {
                p = p.fma(t, L::splat(P[i]));
            }
            let tail = exp(a.mul(a).mul(L::splat(-0.5))).mul(t).mul(p);
            x.max(zero).sub(a.mul(tail))
        }
    }
}

#[derive(Clone, Copy)]
struct Gate<F>(F);
#[derive(Clone, Copy)]
struct Alone<F>(F);

// SAFETY (the functions `zip`): the caller's contract.
impl<F: Function> Zip for Gate<F> {
    #[inline(always)]
    unsafe fn zip<L: Lanes>(self, out: L, gate: L) -> L {
        unsafe { self.0.of(gate).mul(out) }
    }
}
impl<F: Function> Zip for Alone<F> {
    #[inline(always)]
    unsafe fn zip<L: Lanes>(self, out: L, _: L) -> L {
        unsafe { self.0.of(out) }
    }
}
