//! A sampler without memory of the text.

use crate::filters::{self, choose};
use crate::likeliest::Maxima;
use crate::{Sampling, random};

/// Picks tokens by filters and a draw alone.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    seed: u64,
}

impl Sampler {
    /// A sampler. `seed` stands in where [`Sampling::seed`] is absent.
    #[must_use]
    pub fn new(sampling: Sampling, seed: u64) -> Self {
        Self { seed: sampling.seed.unwrap_or(seed), sampling }
    }

    /// The token for `position`, counted from the first token of the prompt.
    /// `None` if no logit is a number.
    #[must_use]
    pub fn pick(&self, logits: &[f32], position: u64) -> Option<u32> {
        let mut maxima = Maxima::default();
        maxima.measure(logits);
        let unit = random::unit(self.seed, position);
        choose(&self.sampling, logits, &mut maxima, &mut filters::Scratch::default(), unit)
    }
}
