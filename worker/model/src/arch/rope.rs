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
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => None,
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
            }
        };
        (0..self.dims / 2).map(pair).collect()
    }
}
