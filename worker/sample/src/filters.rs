//! From the logits of a vocabulary to one token.
//!
//! Every filter keeps candidates in the order of their ids, and the draw goes
//! through them in that order: which token a draw hits does not depend on how
//! the candidates were found.

use crate::Sampling;
use crate::exp::exp;
use crate::likeliest::{Maxima, Scored, finite};

/// Bits of a key that one pass tells apart: the sums that it takes fit into the
/// first level of cache.
const DIGITS: [u32; 3] = [12, 12, 8];
/// Weights that are added up before a draw looks at them one by one.
const CHUNK: usize = 256;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) id: u32,
    /// Its probability, up to a factor that all have in common: that of the
    /// likeliest token of the vocabulary is 1.
    pub(crate) weight: f32,
}

/// Memory that a choice takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    top: Vec<Scored>,
    weights: Vec<f32>,
    pub(crate) candidates: Vec<Candidate>,
    masses: Vec<f64>,
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
    let temper = move |logit: f32| (finite(logit) - largest) / temperature;
    let Scratch { top, weights, candidates, masses } = scratch;
    candidates.clear();
    let mut total = None;
    if top_k > 0 && (top_k as usize) < logits.len() {
        maxima.top(logits, top_k as usize, top);
        top.sort_unstable_by_key(|scored| scored.id);
        let weighed = |&Scored { id, logit }: &Scored| Candidate { id, weight: exp(temper(logit)) };
        candidates.extend(top.iter().map(weighed));
    } else {
        weights.resize(logits.len(), 0.0);
        for (weight, &logit) in weights.iter_mut().zip(logits) {
            *weight = exp(temper(logit));
        }
        // Most of a vocabulary is out of every filter's reach, and is left out
        // before anything is ranked.
        let floor = if typical_p < 1.0 {
            0.0
        } else if top_p < 1.0 {
            let sum = sum(weights, |weight| *weight);
            total = Some(sum);
            // All tokens below it together are less than half of what top-p
            // may leave out.
            (0.5 * (1.0 - top_p) * sum / weights.len() as f64) as f32
        } else {
            min_p
        };
        let numbered = (0u32..).zip(weights.iter()).map(|(id, &weight)| Candidate { id, weight });
        if floor > 0.0 {
            candidates.extend(numbered.filter(|candidate| candidate.weight >= floor));
        } else {
            candidates.extend(numbered);
        }
    }
    if typical_p < 1.0 {
        // Information is how far the logarithm of a probability is below 0, and
        // entropy is its mean: the difference of the two is that of tempered
        // logits, so no logarithm is needed.
        let tempered = |id: u32| logits.get(id as usize).map_or(f32::MIN, |&logit| temper(logit));
        let possible = candidates.iter().filter(|candidate| candidate.weight > 0.0);
        let parts = possible.map(|c| f64::from(c.weight) * f64::from(tempered(c.id)));
        let whole = mass(candidates);
        let mean = parts.sum::<f64>() / whole;
        let distance =
            |candidate: &Candidate| ((f64::from(tempered(candidate.id)) - mean).abs() as f32).to_bits();
        keep(candidates, masses, typical_p * whole, distance);
    }
    if top_p < 1.0 {
        let target = top_p * total.unwrap_or_else(|| mass(candidates));
        keep(candidates, masses, target, |candidate| !candidate.weight.to_bits());
    }
    if min_p > 0.0 {
        let likeliest = candidates.iter().fold(0.0f32, |most, candidate| most.max(candidate.weight));
        candidates.retain(|candidate| candidate.weight >= min_p * likeliest);
    }
}

/// Keeps the shortest run of candidates, by rising key and among equals by
/// rising id, whose weights reach `target`; at least one.
///
/// Nothing is sorted. The weights are added up by the first bits of their keys,
/// which says in which bits the run ends, and then by the next ones of those.
fn keep(
    candidates: &mut Vec<Candidate>,
    masses: &mut Vec<f64>,
    target: f64,
    key: impl Fn(&Candidate) -> u32,
) {
    let (mut prefix, mut shift, mut reached) = (0, 32, 0.0);
    for digit in DIGITS {
        let known = shift;
        shift -= digit;
        let last = (1u64 << digit) - 1;
        masses.clear();
        masses.resize(last as usize + 1, 0.0);
        for candidate in &*candidates {
            let key = u64::from(key(candidate));
            if key >> known == prefix {
                masses[(key >> shift & last) as usize] += f64::from(candidate.weight);
            }
        }
        let mut filled = (0u64..).zip(&*masses).filter(|(_, mass)| **mass > 0.0);
        let ends = filled.find(|(_, mass)| {
            let reaches = reached + **mass >= target;
            reached += if reaches { 0.0 } else { **mass };
            reaches
        });
        // All together do not reach it, by rounding: all are kept.
        let Some((bucket, _)) = ends else { return };
        prefix = prefix << digit | bucket;
    }
    let mut equals = candidates.iter().filter(|candidate| u64::from(key(candidate)) == prefix);
    let last = equals.find(|candidate| {
        reached += f64::from(candidate.weight);
        reached >= target
    });
    let last = (prefix, last.map_or(u32::MAX, |candidate| candidate.id));
    candidates.retain(|candidate| (u64::from(key(candidate)), candidate.id) <= last);
}

fn mass(candidates: &[Candidate]) -> f64 {
    sum(candidates, |candidate| candidate.weight)
}

/// A sum of many numbers, in lanes that a processor adds side by side.
fn sum<T>(items: &[T], number: impl Fn(&T) -> f32) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = items.chunks_exact(lanes.len());
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, item) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(number(item));
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|item| f64::from(number(item))).sum::<f64>()
}

fn draw(candidates: &[Candidate], unit: f64) -> Option<u32> {
    let total = candidates.chunks(CHUNK).map(mass).sum::<f64>();
    let mut left = unit * total;
    let mut likely = candidates.chunks(CHUNK).filter(|chunk| {
        let mass = mass(chunk);
        let skipped = left >= mass;
        left -= if skipped { mass } else { 0.0 };
        !skipped
    });
    let chunk = likely.next();
    let hit = chunk.and_then(|chunk| {
        let mut one_by_one = chunk.iter().filter(|candidate| candidate.weight > 0.0);
        one_by_one.find(|candidate| {
            left -= f64::from(candidate.weight);
            left < 0.0
        })
    });
    // Rounding can leave a rest behind the last candidate of a chunk.
    let last_of = |candidates: &[Candidate]| candidates.iter().rfind(|c| c.weight > 0.0).copied();
    hit.copied().or_else(|| last_of(chunk.unwrap_or(candidates))).map(|candidate| candidate.id)
}

#[cfg(test)]
mod tests;
