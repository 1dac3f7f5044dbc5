//! The exponential function, and what is made of it.

use super::Lanes;

/// Below, `exp` is 0: the result's exponent would leave the normal range.
const LEAST: f32 = -86.6;
/// Above, `exp` stays at about 2.3e38.
const MOST: f32 = 88.3;
/// 1.5 · 2²³: added to a number of a smaller magnitude it leaves the nearest integer
/// in the low bits.
const ROUND: f32 = 12_582_912.0;
/// The logarithm of 2 in two parts, of which the first has few bits.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// (eʳ − 1 − r) / r² on |r| ≤ ln 2 / 2, highest power first: the polynomial of the
/// Cephes library.
const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];

/// eˣ within 1.5 units in the last place for x ≥ −86.6; 0 for less; about 2.3e38 for
/// x > 88.3. Not a number of what is none.
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "an index stays in the function that has the target features")]
pub(crate) unsafe fn exp<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's contract.
    unsafe {
        // In this order, what is not a number stays.
        let bounded = L::splat(LEAST).max(L::splat(MOST).min(x));
        let count = bounded.fma(L::splat(std::f32::consts::LOG2_E), L::splat(ROUND));
        let whole = count.sub(L::splat(ROUND));
        let r = whole.fma(L::splat(-LN_2[0]), bounded);
        let r = whole.fma(L::splat(-LN_2[1]), r);
        let mut p = L::splat(POLYNOMIAL[0]);
        for i in 1..POLYNOMIAL.len() {
            p = p.fma(r, L::splat(POLYNOMIAL[i]));
        }
        let p = p.fma(r.mul(r), r).add(L::splat(1.0));
        p.scale(count).zero_below(x, L::splat(LEAST))
    }
}

/// 1 / (1 + e⁻ˣ).
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn sigmoid<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's contract.
    unsafe {
        let one = L::splat(1.0);
        one.div(one.add(exp(L::splat(0.0).sub(x))))
    }
}

/// The hyperbolic tangent, within 2e-7.
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn tanh<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's contract.
    unsafe { sigmoid(x.add(x)).fma(L::splat(2.0), L::splat(-1.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::lanes::{LANES, kernel};

    kernel! {
            fn all(x: &mut [f32; LANES], which: usize) as body {}
    }

    unsafe fn body<L: Lanes>(x: &mut [f32; LANES], which: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let v = L::load(x.as_ptr());
            [exp::<L>, sigmoid::<L>, tanh::<L>][which](v).store(x.as_mut_ptr());
        }
    }

    fn of(isa: Isa, which: usize, x: f32) -> f32 {
        let mut lanes = [x; LANES];
        all(isa, &mut lanes, which);
        lanes[5]
    }

    fn inputs() -> impl Iterator<Item = f32> {
        (-90_000..90_000).step_by(7).map(|i| i as f32 * 1e-3)
    }

    #[test]
    fn exp_is_within_two_units() {
        for x in inputs().filter(|x| (LEAST..MOST).contains(x)) {
            let (is, should) = (f64::from(of(Isa::detect(), 0, x)), f64::from(x).exp());
            let unit = f64::from(f32::EPSILON) * should;
            assert!((is - should).abs() <= 1.5 * unit, "exp({x}) = {is}, not {should}");
        }
    }

    #[test]
    fn exp_at_the_ends() {
        for isa in Isa::available() {
            assert_eq!(of(isa, 0, 0.0), 1.0);
            assert_eq!(of(isa, 0, f32::NEG_INFINITY), 0.0);
            assert_eq!(of(isa, 0, -86.7), 0.0);
            assert!((2.2e38..2.4e38).contains(&of(isa, 0, f32::INFINITY)));
            assert!(of(isa, 0, f32::NAN).is_nan());
        }
    }

    #[test]
    fn sigmoid_and_tanh_are_near() {
        for x in inputs() {
            let wide = f64::from(x);
            let sigmoid = f64::from(of(Isa::detect(), 1, x));
            assert!((sigmoid - 1.0 / (1.0 + (-wide).exp())).abs() < 2e-7, "{x}");
            assert!((f64::from(of(Isa::detect(), 2, x)) - wide.tanh()).abs() < 3e-7, "{x}");
        }
    }

    #[test]
    fn all_sets_agree() {
        for isa in Isa::available() {
            for which in 0..3 {
                for x in inputs() {
                    assert_eq!(of(isa, which, x).to_bits(), of(Isa::Portable, which, x).to_bits(), "{x}");
                }
            }
        }
    }
}
