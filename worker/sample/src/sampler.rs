//! Picking a token.
//!
//! In this order:
//! 1. `temperature` 0 takes the largest logit, the lowest id among equals, and
//!    the rest does not apply; otherwise logits are divided by it;
//! 2. `top_k` keeps the k largest;
//! 3. softmax over what is left;
//! 4. `top_p` keeps the shortest run of the likeliest that reaches the sum;
//! 5. `min_p` drops what is less likely than that fraction of the likeliest;
//! 6. a draw, in proportion to what is left.
//!
//! The draw's randomness is a function of seed and position alone: a generation
//! that continues elsewhere, or after a preemption, goes on with the same draws.

use crate::{Sampling, random};

/// Picks tokens for one request.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    /// The tempered logit, then the probability up to a common factor.
    weight: f32,
}

impl Sampler {
    /// A sampler. `seed` stands in where [`Sampling::seed`] is absent.
    #[must_use]
    pub fn new(sampling: Sampling, seed: u64) -> Self {
        Self { sampling, seed: sampling.seed.unwrap_or(seed) }
    }

    /// The token for `position`, counted from the first token of the prompt.
    /// `None` if no logit is a number.
    #[must_use]
    pub fn pick(&self, logits: &[f32], position: u64) -> Option<u32> {
        let likeliest = argmax(logits)?;
        let Sampling { temperature, top_k, top_p, min_p, seed: _ } = self.sampling;
        if temperature == 0.0 {
            return Some(likeliest.id);
        }
        let mut kept = finite(logits).collect::<Vec<_>>();
        let top_k = if top_k == 0 { kept.len() } else { top_k as usize };
        if top_k < kept.len() {
            kept.select_nth_unstable_by(top_k - 1, likelier_first);
            kept.truncate(top_k);
        }
        for candidate in &mut kept {
            // The likeliest becomes 1, so the exponential stays in range
            // whatever the temperature.
            candidate.weight = ((candidate.weight - likeliest.weight) / temperature).exp();
        }
        if top_p < 1.0 {
            kept.sort_unstable_by(likelier_first);
            let keep = nucleus(&kept, f64::from(top_p));
            kept.truncate(keep);
        }
        kept.retain(|candidate| candidate.weight >= min_p);
        // The order decides which draw hits which token, so it must not depend
        // on how the candidates were selected.
        kept.sort_unstable_by_key(|candidate| candidate.id);
        draw(&kept, random::unit(self.seed, position)).or(Some(likeliest.id))
    }
}

fn finite(logits: &[f32]) -> impl Iterator<Item = Candidate> + '_ {
    let numbered = logits.iter().zip(0u32..);
    numbered.filter(|(logit, _)| !logit.is_nan() && **logit > f32::NEG_INFINITY).map(|(&weight, id)| {
        // An infinite logit wins; its differences have to stay numbers.
        Candidate { id, weight: weight.min(f32::MAX) }
    })
}

fn argmax(logits: &[f32]) -> Option<Candidate> {
    finite(logits).reduce(|best, next| if next.weight > best.weight { next } else { best })
}

fn likelier_first(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}

/// How many of `sorted` reach the fraction `top_p` of their sum; at least one.
fn nucleus(sorted: &[Candidate], top_p: f64) -> usize {
    let target = top_p * sum(sorted);
    let mut reached = 0.0;
    for (index, candidate) in sorted.iter().enumerate() {
        reached += f64::from(candidate.weight);
        if reached >= target {
            return index + 1;
        }
    }
    sorted.len()
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

fn draw(candidates: &[Candidate], unit: f64) -> Option<u32> {
    let mut left = unit * sum(candidates);
    for candidate in candidates {
        left -= f64::from(candidate.weight);
        if left < 0.0 {
            return Some(candidate.id);
        }
    }
    // Rounding can leave a rest behind the last candidate.
    candidates.last().map(|candidate| candidate.id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sampler;
    use crate::Sampling;

    fn sampling(temperature: f32, top_k: u32, top_p: f32, min_p: f32) -> Sampling {
        Sampling { temperature, top_k, top_p, min_p, seed: Some(7) }
    }

    fn support(sampling: Sampling, logits: &[f32]) -> Vec<u32> {
        let sampler = Sampler::new(sampling, 0);
        let mut seen = (0..2_000).filter_map(|at| sampler.pick(logits, at)).collect::<Vec<_>>();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn greedy_takes_the_lowest_of_the_largest() {
        let sampler = Sampler::new(Sampling::greedy(), 0);
        assert_eq!(sampler.pick(&[0.0, 3.0, f32::NAN, 3.0], 0), Some(1));
        assert_eq!(sampler.pick(&[f32::NAN, f32::NEG_INFINITY], 0), None);
        assert_eq!(sampler.pick(&[], 0), None);
    }

    #[test]
    fn each_filter_keeps_what_it_says() {
        // Probabilities 0.5, 0.25, 0.15, 0.1.
        let logits = [0.5f32.ln(), 0.25f32.ln(), 0.15f32.ln(), 0.1f32.ln()];
        assert_eq!(support(sampling(1.0, 0, 1.0, 0.0), &logits), [0, 1, 2, 3]);
        assert_eq!(support(sampling(1.0, 2, 1.0, 0.0), &logits), [0, 1]);
        assert_eq!(support(sampling(1.0, 0, 0.7, 0.0), &logits), [0, 1]);
        assert_eq!(support(sampling(1.0, 0, 0.76, 0.0), &logits), [0, 1, 2]);
        assert_eq!(support(sampling(1.0, 0, 1.0, 0.25), &logits), [0, 1, 2]);
        assert_eq!(support(sampling(1.0, 0, 1.0, 1.0), &logits), [0]);
        // top-p counts what top-k left: 0.5 of 0.75 reaches 0.6.
        assert_eq!(support(sampling(1.0, 2, 0.6, 0.0), &logits), [0]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.6f32.ln(), 0.3f32.ln(), 0.1f32.ln()];
        let sampler = Sampler::new(sampling(1.0, 0, 1.0, 0.0), 0);
        let mut counts = [0u32; 3];
        for position in 0..20_000 {
            counts[sampler.pick(&logits, position).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([12_000i64, 6_000, 2_000]) {
            assert!((i64::from(count) - expected).abs() < 300, "{counts:?}");
        }
    }

    #[test]
    fn infinite_logits_do_not_break_the_sum() {
        let sampler = Sampler::new(sampling(1.0, 0, 1.0, 0.0), 0);
        assert_eq!(sampler.pick(&[1.0, f32::INFINITY, 2.0], 3), Some(1));
    }

    proptest! {
        #[test]
        fn a_pick_is_a_function_of_seed_and_position(
            logits in proptest::collection::vec(-20.0f32..20.0, 1..200),
            temperature in 0.0f32..2.0, top_k in 0u32..50, top_p in 0.01f32..1.0, min_p in 0.0f32..1.0,
            seed: u64, position: u64,
        ) {
            let sampling = Sampling { temperature, top_k, top_p, min_p, seed: Some(seed) };
            let first = Sampler::new(sampling, 1).pick(&logits, position);
            prop_assert_eq!(first, Sampler::new(sampling, 2).pick(&logits, position));
            prop_assert!((first.unwrap() as usize) < logits.len());
        }
    }
}
