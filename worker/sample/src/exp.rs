//! The exponential function, in a shape that compilers turn into vector code.

/// Below it the result is 0: its powers are about to leave the normal numbers.
const LEAST: f32 = -87.0;

/// `e^x` for `x` up to 0, within 2 units in the last place; 0 for anything below
/// -87 and for what is not a number.
///
/// A vocabulary takes a quarter of a million of these a token, so it has neither
/// a branch nor a call: `x = k ln 2 + r` with whole `k`, a polynomial for `e^r`,
/// and `k` added to the exponent's bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding it rounds to a whole number and leaves that in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, of which the first has so few bits that its product
    // with k is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    // Taylor's series; |r| is at most ln 2 / 2, so the first term that is left
    // out is under 6e-9.
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x >= LEAST { scaled } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn it_is_the_exponential_function() {
        let mut x = -87.0f32;
        while x <= 0.0 {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}) is off by {error}");
            x += 0.000_37;
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
    }

    #[test]
    fn what_is_out_of_range_is_nothing() {
        for x in [-87.01, -1e3, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp(x), 0.0, "{x}");
        }
    }

    #[test]
    fn more_is_never_less() {
        let mut last = 0.0;
        for step in 0..2_000_000 {
            let value = exp(-88.0 + step as f32 * 4.4e-5);
            assert!(value >= last * (1.0 - 3e-7), "at {step}");
            last = value;
        }
    }
}
