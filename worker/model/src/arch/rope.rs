//! The rotary position embedding.

use crate::Tensor;

/// Which elements of a head's vector the rotary embedding turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// Elements `2i` and `2i + 1`: files whose queries and keys were reordered for it.
    Adjacent,
    /// Elements `i` and `i + dims / 2`.
    Halves,
}

/// Numbers from a tensor of `f32`, or from the description.
#[derive(Clone, Debug, PartialEq)]
pub enum Factors {
    /// In the file.
    Tensor(Tensor),
    /// Here.
    Numbers(Vec<f32>),
}

/// How positions are stretched beyond the trained context.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// They are not.
    None,
    /// Positions are divided by the factor.
    Linear {
        /// The factor, over 0.
        factor: f32,
    },
    /// The frequency of pair `i` is divided by element `i` of these `dims / 2`.
    Factors(Factors),
    /// As [`RopeScaling::Factors`], with other factors for long contexts.
    LongRope {
        /// For contexts of up to `original_context` tokens.
        short: Factors,
        /// For longer ones.
        long: Factors,
        /// Context before the stretch, in tokens.
        original_context: u32,
    },
    /// Low frequencies are divided by `factor`, high ones stay, those between are
    /// blended; see [`Rope::frequencies`].
    Llama3 {
        /// Divisor of low frequencies.
        factor: f32,
        /// Wavelengths over `original_context / low` are divided by `factor`.
        low: f32,
        /// Wavelengths under `original_context / high` stay.
        high: f32,
        /// Context before the stretch, in tokens.
        original_context: u32,
    },
    /// YaRN: as [`RopeScaling::Llama3`], but what is between high and low frequencies is
    /// blended pair by pair.
    Yarn {
        /// Divisor of low frequencies.
        factor: f32,
        /// A pair that turns so often over `original_context` stays; over `slow`.
        fast: f32,
        /// One that turns so often or less is divided by `factor`; over 0.
        slow: f32,
        /// Whether the ends of what is blended are whole pairs.
        truncate: bool,
        /// Context before the stretch, in tokens.
        original_context: u32,
    },
}

/// The rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies: pair `i` turns by `theta^(-2i/dims)` a token.
    pub theta: f32,
    /// Elements of a head that are turned: even, at most `head_dim_k`.
    pub dims: u32,
    /// Which elements are pairs.
    pub pairs: RopePairs,
    /// The stretch.
    pub scaling: RopeScaling,
    /// What turned elements are multiplied with.
    pub magnitude: f32,
}

impl Rope {
    /// The divisors of the frequencies, for [`Rope::frequencies`], in a replica whose
    /// sequences hold up to `context_tokens`. They are chosen once a replica, so that
    /// keys which are kept stay right as a sequence grows.
    #[must_use]
    pub fn factors(&self, context_tokens: u32) -> Option<&Factors> {
        match &self.scaling {
            RopeScaling::None
            | RopeScaling::Linear { .. }
            | RopeScaling::Llama3 { .. }
            | RopeScaling::Yarn { .. } => None,
            RopeScaling::Factors(factors) => Some(factors),
            RopeScaling::LongRope { short, long, original_context } => {
                Some(if context_tokens > *original_context { long } else { short })
            }
        }
    }

    /// What pair `i` turns by a token, in radians, for `i` in `0..dims / 2`.
    /// `factors` holds the numbers of [`Rope::factors`], and is empty without.
    #[must_use]
    pub fn frequencies(&self, factors: &[f32]) -> Vec<f64> {
        let pair = |i: u32| {
            let plain = f64::from(self.theta).powf(-2.0 * f64::from(i) / f64::from(self.dims));
            match self.scaling {
                RopeScaling::None => plain,
                RopeScaling::Linear { factor } => plain / f64::from(factor),
                RopeScaling::Factors(_) | RopeScaling::LongRope { .. } => {
                    plain / factors.get(i as usize).map_or(1.0, |f| f64::from(*f))
                }
                RopeScaling::Llama3 { factor, low, high, original_context } => {
                    let turns = f64::from(original_context) * plain / std::f64::consts::TAU;
                    let (low, high) = (f64::from(low), f64::from(high));
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    plain * (keep + (1.0 - keep) / f64::from(factor))
                }
                RopeScaling::Yarn { factor, fast, slow, truncate, original_context } => {
                    let [first, last] = self.blended([fast, slow], truncate, original_context);
                    let share = ((f64::from(i) - first) / (last - first)).clamp(0.0, 1.0);
                    plain * (1.0 - share + share / f64::from(factor))
                }
            }
        };
        (0..self.dims / 2).map(pair).collect()
    }

    /// Between which pairs, in general not whole ones, frequencies are blended: those that
    /// turn `turns` times over a context.
    fn blended(&self, turns: [f32; 2], truncate: bool, context: u32) -> [f64; 2] {
        let dims = f64::from(self.dims);
        let [first, last] = turns.map(|turns| {
            let wavelength = f64::from(context) / (f64::from(turns) * std::f64::consts::TAU);
            dims * wavelength.ln() / (2.0 * f64::from(self.theta).ln())
        });
        let [first, last] = if truncate { [first.floor(), last.ceil()] } else { [first, last] };
        let [first, last] = [first.max(0.0), last.min(dims - 1.0)];
        // As those who trained with it divide by something.
        [first, if first == last { last + 0.001 } else { last }]
    }
}

/// How much larger elements become that YaRN turns, so that attention stays as sharp over
/// a context `factor` times as long; `weight` is 1 but for models that say another.
#[must_use]
pub(super) fn yarn_magnitude(factor: f32, weight: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { (0.1 * f64::from(weight) * f64::from(factor).ln() + 1.0) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yarn(truncate: bool) -> Rope {
        let scaling =
            RopeScaling::Yarn { factor: 4.0, fast: 32.0, slow: 1.0, truncate, original_context: 4096 };
        Rope { theta: 10_000.0, dims: 64, pairs: RopePairs::Halves, scaling, magnitude: 1.0 }
    }

    /// A pair turns 32 times over 4096 tokens at 10.5 and once at 22.5 of 32 pairs.
    #[test]
    fn yarn_keeps_fast_pairs_and_divides_slow_ones() {
        for (truncate, first, last) in [(true, 10.0, 23.0), (false, 10.472_2, 22.513_5)] {
            let rope = yarn(truncate);
            let plain = Rope { scaling: RopeScaling::None, ..rope.clone() }.frequencies(&[]);
            for (i, (found, plain)) in rope.frequencies(&[]).iter().zip(plain).enumerate() {
                let share = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0);
                let expected = plain / 4.0 * share + plain * (1.0 - share);
                assert!((found / expected - 1.0).abs() < 1e-4, "{truncate} {i}: {found} {expected}");
            }
        }
        assert_eq!(yarn_magnitude(1.0, 1.0), 1.0);
        assert!((yarn_magnitude(4.0, 1.0) - 1.138_629_4).abs() < 1e-6);
    }
}
