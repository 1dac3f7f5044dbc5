//! The likeliest tokens of a vocabulary, without looking at each twice.
//!
//! One pass notes the largest logit of each block. The k-th largest of those is
//! no larger than the k-th largest logit, so it is a threshold: only blocks that
//! reach it are looked at again, and what is below it is left out.

/// Logits a block. At 40 of 151,936 tokens some 40 of 2,374 blocks are read
/// again.
const BLOCK: usize = 64;
/// Maxima kept side by side, as many as vector registers like.
const LANES: usize = 16;

/// A token and its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) id: u32,
    pub(crate) logit: f32,
}

/// The largest logit of each block, `-inf` where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Maxima {
    blocks: Vec<f32>,
    sorted: Vec<f32>,
}

impl Maxima {
    /// Takes the maxima of `logits`. What is not a number counts for nothing.
    pub(crate) fn measure(&mut self, logits: &[f32]) {
        self.blocks.clear();
        self.blocks.extend(logits.chunks(BLOCK).map(largest));
    }

    /// The largest logit of all; `-inf` if there is none.
    pub(crate) fn largest(&self) -> f32 {
        largest(&self.blocks)
    }

    /// The lowest id that has the largest logit.
    pub(crate) fn first(&self, logits: &[f32]) -> Option<u32> {
        let largest = self.largest();
        if largest == f32::NEG_INFINITY {
            return None;
        }
        let block = self.blocks.iter().position(|&most| most == largest)?;
        let start = block * BLOCK;
        let within = logits.get(start..)?.iter().position(|&logit| logit == largest)?;
        u32::try_from(start + within).ok()
    }

    /// Puts the `k` likeliest into `found`, in no order; among equals the lowest
    /// ids. `self` is of the same logits.
    pub(crate) fn top(&mut self, logits: &[f32], k: usize, found: &mut Vec<Scored>) {
        found.clear();
        if k == 0 {
            return;
        }
        let threshold = if k <= self.blocks.len() {
            self.sorted.clear();
            self.sorted.extend_from_slice(&self.blocks);
            *self.sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
        } else {
            f32::NEG_INFINITY
        };
        for (block, &most) in self.blocks.iter().enumerate() {
            if most < threshold || most == f32::NEG_INFINITY {
                continue;
            }
            let start = block * BLOCK;
            let end = logits.len().min(start + BLOCK);
            for (id, &logit) in (start as u32..).zip(&logits[start..end]) {
                if logit >= threshold && logit > f32::NEG_INFINITY {
                    // -0 and 0 are equal, and only here are they made so.
                    found.push(Scored { id, logit: logit + 0.0 });
                }
            }
        }
        if found.len() > k {
            found.select_nth_unstable_by(k - 1, likelier_first);
            found.truncate(k);
        }
    }
}

/// Orders by logit, and equals by id.
pub(crate) fn likelier_first(a: &Scored, b: &Scored) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// An infinite logit as the largest number, so that differences are numbers; what
/// is not a number stays none.
#[inline(always)]
pub(crate) fn finite(logit: f32) -> f32 {
    if logit > f32::MAX { f32::MAX } else { logit }
}

fn largest(numbers: &[f32]) -> f32 {
    let more = |most: f32, x: f32| if x > most { x } else { most };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = numbers.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = more(*lane, x);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &x| more(most, x))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Maxima, Scored, likelier_first};

    fn naive(logits: &[f32], k: usize) -> Vec<u32> {
        let numbered = logits.iter().zip(0u32..);
        let mut all = numbered
            .filter(|(logit, _)| **logit > f32::NEG_INFINITY)
            .map(|(&logit, id)| Scored { id, logit: logit + 0.0 })
            .collect::<Vec<_>>();
        all.sort_by(likelier_first);
        all.into_iter().take(k).map(|scored| scored.id).collect()
    }

    fn logit() -> impl Strategy<Value = f32> {
        prop_oneof![
            6 => -20.0f32..20.0,
            // Equals are where selections go wrong.
            3 => (-3i8..3).prop_map(f32::from),
            1 => prop::sample::select(vec![
                f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, f32::MIN,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn the_top_are_the_first_of_the_sorted(
            logits in prop::collection::vec(logit(), 0..2_000),
            k in prop_oneof![0usize..50, 0usize..2_100],
        ) {
            let mut maxima = Maxima::default();
            maxima.measure(&logits);
            let mut found = Vec::new();
            maxima.top(&logits, k, &mut found);
            found.sort_by(likelier_first);
            let found = found.into_iter().map(|scored| scored.id).collect::<Vec<_>>();
            prop_assert_eq!(found, naive(&logits, k));
            let first = naive(&logits, 1).first().copied();
            prop_assert_eq!(maxima.first(&logits), first);
        }
    }
}
