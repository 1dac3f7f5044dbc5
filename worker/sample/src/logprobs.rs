//! What the model itself thought of a token.

use crate::exp::exp;
use crate::likeliest::{Maxima, Scored, finite, likelier_first};

/// Log probabilities of one place in the output, natural logarithms.
///
/// They are of the model's own distribution: at temperature 1, before biases,
/// penalties, constraints and filters.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Of the token that was picked.
    pub picked: f32,
    /// The likeliest tokens, the likeliest first; as many as were asked for. The
    /// one that was picked need not be among them.
    pub top: Vec<(u32, f32)>,
}

/// A distribution, measured before it is changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    /// The logarithm of the sum of all tokens' exponentials.
    normalizer: f64,
    top: Vec<(u32, f32)>,
}

/// Measures `logits`, whose `maxima` are given. At least one of them is a
/// number.
pub(crate) fn measure(logits: &[f32], maxima: &mut Maxima, top: u32, found: &mut Vec<Scored>) -> Measured {
    let largest = maxima.largest().min(f32::MAX);
    // Short sums in single precision lose nothing that a logarithm would show.
    let sum = logits.chunks(1024).map(|chunk| f64::from(sum_exp(chunk, largest))).sum::<f64>();
    let normalizer = f64::from(largest) + sum.ln();
    maxima.top(logits, top as usize, found);
    found.sort_unstable_by(likelier_first);
    let top = found.iter().map(|&Scored { id, logit }| (id, logprob(logit, normalizer))).collect();
    Measured { normalizer, top }
}

impl Measured {
    /// With the token that was picked in the end, by its logit at the time.
    pub(crate) fn of(self, logit: f32) -> Logprobs {
        Logprobs { picked: logprob(logit, self.normalizer), top: self.top }
    }
}

/// The sum of `e^(logit - largest)`, in lanes for vector code.
fn sum_exp(logits: &[f32], largest: f32) -> f32 {
    let weigh = |logit: f32| exp(finite(logit) - largest);
    let mut lanes = [0.0f32; 16];
    let chunks = logits.chunks_exact(lanes.len());
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += weigh(logit);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&logit| weigh(logit)).sum::<f32>()
}

fn logprob(logit: f32, normalizer: f64) -> f32 {
    (f64::from(finite(logit)) - normalizer) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::measure;
    use crate::likeliest::Maxima;

    proptest! {
        #[test]
        fn they_are_the_log_softmax(
            logits in prop::collection::vec(-30.0f32..30.0, 1..1_000),
            top in 0u32..=20, picked: prop::sample::Index,
        ) {
            let mut maxima = Maxima::default();
            maxima.measure(&logits);
            let picked = picked.index(logits.len());
            let logprobs = measure(&logits, &mut maxima, top, &mut Vec::new()).of(logits[picked]);
            let sum = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>();
            let exact = |x: f32| f64::from(x) - sum.ln();
            prop_assert!((f64::from(logprobs.picked) - exact(logits[picked])).abs() < 1e-5);
            let mut sorted = (0u32..).zip(&logits).collect::<Vec<_>>();
            sorted.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(&b.0)));
            prop_assert_eq!(logprobs.top.len(), logits.len().min(top as usize));
            for ((id, logprob), (expected, &logit)) in logprobs.top.iter().zip(sorted) {
                prop_assert_eq!(*id, expected);
                prop_assert!((f64::from(*logprob) - exact(logit)).abs() < 1e-5);
            }
        }
    }
}
