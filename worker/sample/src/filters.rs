//! From the logits of a vocabulary to one token.
//!
//! Every filter keeps candidates in the order of their ids, and the draw goes
//! through them in that order: which token a draw hits does not depend on how
//! the candidates were found.

use std::cmp::Ordering;

use crate::Sampling;
use crate::exp::exp;
use crate::likeliest::{Maxima, Scored};

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) id: u32,
    /// Its probability, up to a factor that all have in common: that of the
    /// likeliest token of the vocabulary is 1.
    pub(crate) weight: f32,
}

/// A candidate on its way through a selection.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    /// Lower is kept first.
    key: f32,
    id: u32,
    weight: f32,
}

/// Memory that a choice takes, of which little is in use at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    top: Vec<Scored>,
    weights: Vec<f32>,
    pub(crate) candidates: Vec<Candidate>,
    ranked: Vec<Ranked>,
}

/// The token that `unit`, from `[0, 1)`, hits. `maxima` are those of `logits`.
/// `None` if no logit is a number over `-inf`.
pub(crate) fn choose(
    sampling: &Sampling,
    logits: &[f32],
    maxima: &mut Maxima,
    scratch: &mut Scratch,
    unit: f64,
) -> Option<u32> {
    if sampling.temperature == 0.0 {
        return maxima.first(logits);
    }
    if maxima.largest() == f32::NEG_INFINITY {
        return None;
    }
    filter(sampling, logits, maxima, scratch);
    // Whatever rounding did, the likeliest token is there.
    draw(&scratch.candidates, unit).or_else(|| maxima.first(logits))
}

/// Leaves in `scratch.candidates` what may be drawn.
pub(crate) fn filter(sampling: &Sampling, logits: &[f32], maxima: &mut Maxima, scratch: &mut Scratch) {
    let Sampling { temperature, top_k, top_p, min_p, typical_p, .. } = *sampling;
    let (top_p, typical_p) = (f64::from(top_p), f64::from(typical_p));
    let largest = maxima.largest().min(f32::MAX);
    // An infinite logit wins; its differences have to stay numbers.
    let weigh = |logit: f32| exp((logit.min(f32::MAX) - largest) / temperature);
    let Scratch { top, weights, candidates, ranked } = scratch;
    candidates.clear();
    let mut total = None;
    if top_k > 0 && (top_k as usize) < logits.len() {
        maxima.top(logits, top_k as usize, top);
        top.sort_unstable_by_key(|scored| scored.id);
        candidates.extend(top.iter().map(|&Scored { id, logit }| Candidate { id, weight: weigh(logit) }));
    } else {
        weights.clear();
        weights.extend(logits.iter().map(|&logit| weigh(logit)));
        let sum = sum(weights);
        // Most of a vocabulary is out of every filter's reach, and is left out
        // before anything is ranked.
        let floor = if typical_p < 1.0 {
            0.0
        } else if top_p < 1.0 {
            total = Some(sum);
            // All tokens below it together are less than half of what top-p
            // may leave out.
            (0.5 * (1.0 - top_p) * sum / weights.len() as f64) as f32
        } else {
            min_p
        };
        let numbered = (0u32..).zip(weights.iter());
        candidates.extend(
            numbered
                .filter(|(_, weight)| **weight >= floor && **weight > 0.0)
                .map(|(id, &weight)| Candidate { id, weight }),
        );
    }
    if typical_p < 1.0 {
        keep_typical(candidates, ranked, typical_p);
    }
    if top_p < 1.0 {
        let target = top_p * total.unwrap_or_else(|| mass(candidates));
        keep(candidates, ranked, target, |candidate| -candidate.weight);
    }
    if min_p > 0.0 {
        let likeliest = candidates.iter().fold(0.0f32, |most, candidate| most.max(candidate.weight));
        candidates.retain(|candidate| candidate.weight >= min_p * likeliest);
    }
}

/// Keeps the tokens whose information is nearest to the entropy of all.
fn keep_typical(candidates: &mut Vec<Candidate>, ranked: &mut Vec<Ranked>, typical_p: f64) {
    let total = mass(candidates);
    let information = |weight: f32| total.ln() - f64::from(weight).ln();
    let part = |weight: f32| f64::from(weight) / total * information(weight);
    let entropy = candidates.iter().map(|candidate| part(candidate.weight)).sum::<f64>();
    let distance = |candidate: &Candidate| (information(candidate.weight) - entropy).abs() as f32;
    keep(candidates, ranked, typical_p * total, distance);
}

/// Keeps the shortest run of candidates, by rising key and among equals by
/// rising id, whose weights reach `target`; at least one. Linear in time: halves
/// are told apart, not sorted.
fn keep(
    candidates: &mut Vec<Candidate>,
    ranked: &mut Vec<Ranked>,
    target: f64,
    key: impl Fn(&Candidate) -> f32,
) {
    let rank =
        |candidate: &Candidate| Ranked { key: key(candidate), id: candidate.id, weight: candidate.weight };
    ranked.clear();
    ranked.extend(candidates.iter().map(rank));
    let mut open = ranked.as_mut_slice();
    let mut reached = 0.0;
    while open.len() > 1 {
        let middle = open.len() / 2;
        open.select_nth_unstable_by(middle, earlier);
        let (first, second) = open.split_at_mut(middle);
        let half = first.iter().map(|one| f64::from(one.weight)).sum::<f64>();
        if reached + half >= target {
            open = first;
        } else {
            reached += half;
            open = second;
        }
    }
    if let Some(last) = open.first() {
        candidates.retain(|candidate| earlier(&rank(candidate), last) != Ordering::Greater);
    }
}

fn earlier(a: &Ranked, b: &Ranked) -> Ordering {
    a.key.total_cmp(&b.key).then(a.id.cmp(&b.id))
}

fn mass(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

/// The sum of many weights, in lanes that a processor adds side by side.
fn sum(weights: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = weights.chunks_exact(lanes.len());
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &weight) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(weight);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().copied().map(f64::from).sum::<f64>()
}

fn draw(candidates: &[Candidate], unit: f64) -> Option<u32> {
    let mut left = unit * mass(candidates);
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
mod tests;
