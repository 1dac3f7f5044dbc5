//! Against repeating whole sequences: the penalty called DRY.

use std::collections::HashMap;

use crate::edits::Edits;
use crate::{Dry, Vocabulary};

/// So much is off a logit at the most: the token stays possible, in case that
/// nothing else is.
const MOST: f32 = 1e30;

/// Which tokens of a text break sequences, kept up to date as it grows.
#[derive(Clone, Debug)]
pub(crate) struct DryPenalty {
    dry: Dry,
    /// For each token, whether a breaker ends in it.
    breaks: Vec<bool>,
    /// The last bytes of the text, as many as a breaker may need, then the token
    /// in hand.
    tail: Vec<u8>,
    longest: usize,
}

/// Memory that a look takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    common: Vec<u32>,
    found: HashMap<u32, u32>,
}

impl DryPenalty {
    /// `None` if it is turned off.
    pub(crate) fn new(dry: &Dry) -> Option<Self> {
        (dry.multiplier > 0.0).then(|| Self {
            breaks: Vec::new(),
            tail: Vec::new(),
            longest: dry.breakers.iter().map(String::len).max().unwrap_or(0),
            dry: dry.clone(),
        })
    }

    /// Penalizes what would prolong a repetition in `text`, prompt and output.
    pub(crate) fn apply(
        &mut self,
        text: &[u32],
        vocabulary: &dyn Vocabulary,
        scratch: &mut Scratch,
        logits: &mut Edits<'_>,
    ) {
        self.take(text, vocabulary);
        let window = if self.dry.window == 0 { text.len() } else { self.dry.window as usize };
        let begins = text.len().saturating_sub(window);
        let (text, breaks) = (&text[begins..], &self.breaks[begins..]);
        // Nothing that repeats holds a breaker.
        let reach = breaks.iter().rev().take_while(|breaks| !**breaks).count();
        let Scratch { common, found } = scratch;
        repetitions(text, common);
        found.clear();
        for (back, &len) in common.iter().enumerate().skip(1) {
            let len = len.min(u32::try_from(reach).unwrap_or(u32::MAX));
            let next = text.len() - back;
            if len >= self.dry.allowed_length && !breaks[next] {
                let longest = found.entry(text[next]).or_insert(0);
                *longest = len.max(*longest);
            }
        }
        for (&id, &len) in found.iter() {
            logits.change(id, |logit| logit - self.penalty(len));
        }
    }

    fn penalty(&self, len: u32) -> f32 {
        let over = len.saturating_sub(self.dry.allowed_length);
        (self.dry.multiplier * self.dry.base.powf(over as f32)).min(MOST)
    }

    fn take(&mut self, text: &[u32], vocabulary: &dyn Vocabulary) {
        if text.len() < self.breaks.len() {
            self.breaks.clear();
            self.tail.clear();
        }
        for &id in &text[self.breaks.len()..] {
            let before = self.tail.len();
            self.tail.extend_from_slice(vocabulary.bytes(id));
            let tail = &self.tail;
            let ends_here = |breaker: &String| {
                let begin = (before + 1).saturating_sub(breaker.len());
                tail[begin..].windows(breaker.len()).any(|bytes| bytes == breaker.as_bytes())
            };
            self.breaks.push(self.dry.breakers.iter().any(ends_here));
            // A breaker that ends in the next token has at most all but one of
            // its bytes in those before.
            let keep = self.longest.saturating_sub(1);
            self.tail.drain(..self.tail.len().saturating_sub(keep));
        }
    }
}

/// For each `back`, how many tokens at the end of `text` are the same as those
/// at the end of `text` without its last `back` tokens; in linear time, by the
/// Z algorithm on the reversed text.
fn repetitions(text: &[u32], common: &mut Vec<u32>) {
    let len = text.len();
    let from_end = |at: usize| text[len - 1 - at];
    common.clear();
    common.resize(len, 0);
    // The stretch that reaches furthest among those that were compared.
    let (mut begin, mut end) = (0, 0);
    for back in 1..len {
        let mut same = if back < end { (common[back - begin] as usize).min(end - back) } else { 0 };
        while back + same < len && from_end(same) == from_end(back + same) {
            same += 1;
        }
        if back + same > end {
            (begin, end) = (back, back + same);
        }
        common[back] = u32::try_from(same).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{DryPenalty, Scratch};
    use crate::Dry;
    use crate::edits::Edits;
    use crate::testing::Letters;

    /// The definition: every place in the text where the last token stood before.
    fn naive(dry: &Dry, text: &[u32], breaks: impl Fn(usize) -> bool, logits: &mut [f32]) {
        let begins = if dry.window == 0 { 0 } else { text.len().saturating_sub(dry.window as usize) };
        let text_from = |at: usize| text[begins + at];
        let len = text.len() - begins;
        let mut longest = std::collections::BTreeMap::<u32, u32>::new();
        for at in 0..len.saturating_sub(1) {
            if breaks(begins + at + 1) {
                continue;
            }
            let mut same = 0;
            while same <= at
                && text_from(at - same) == text_from(len - 1 - same)
                && !breaks(begins + len - 1 - same)
            {
                same += 1;
            }
            let entry = longest.entry(text_from(at + 1)).or_default();
            *entry = (same as u32).max(*entry);
        }
        for (id, same) in longest {
            if same >= dry.allowed_length {
                let penalty = dry.multiplier * dry.base.powf((same - dry.allowed_length) as f32);
                logits[id as usize] -= penalty.min(super::MOST);
            }
        }
    }

    fn apply(penalty: &mut DryPenalty, text: &[u32], logits: &mut [f32]) {
        let mut before = Vec::new();
        penalty.apply(text, &Letters, &mut Scratch::default(), &mut Edits::new(logits, &mut before));
    }

    fn penalized(dry: &Dry, text: &str) -> Vec<(char, f32)> {
        let mut logits = vec![0.0; 27];
        apply(&mut DryPenalty::new(dry).unwrap(), &Letters::ids(text), &mut logits);
        let changed = (0u32..).zip(logits).filter(|(_, logit)| *logit != 0.0);
        changed.map(|(id, logit)| (Letters::char(id), -logit)).collect()
    }

    fn dry(breakers: &[&str]) -> Dry {
        let breakers = breakers.iter().map(|text| (*text).to_owned()).collect();
        Dry { multiplier: 1.0, base: 2.0, allowed_length: 2, window: 0, breakers }
    }

    #[test]
    fn longer_repetitions_cost_more() {
        assert!(DryPenalty::new(&Dry::default()).is_none());
        assert_eq!(penalized(&dry(&[]), "abc"), []);
        assert_eq!(penalized(&dry(&[]), "abcb"), []);
        assert_eq!(penalized(&dry(&[]), "abcdab"), [('c', 1.0)]);
        assert_eq!(penalized(&dry(&[]), "abcdabc"), [('d', 2.0)]);
        // Where it stood twice, the longer one counts, and each has its own next.
        assert_eq!(penalized(&dry(&[]), "xabcyabdzxab"), [('c', 2.0), ('d', 1.0)]);
        assert_eq!(penalized(&dry(&[]), "aaaa"), [('a', 2.0)]);
    }

    #[test]
    fn the_window_is_all_that_is_seen() {
        let short = Dry { window: 5, ..dry(&[]) };
        assert_eq!(penalized(&short, "abcdab"), []);
        assert_eq!(penalized(&short, "zbcdbc"), [('d', 1.0)]);
    }

    #[test]
    fn breakers_hold_repetitions_apart() {
        assert_eq!(penalized(&dry(&["b"]), "abcdabc"), []);
        assert_eq!(penalized(&dry(&["c"]), "abcdab"), []);
        assert_eq!(penalized(&dry(&["a"]), "abcdabc"), [('d', 1.0)]);
        // Of several tokens: the one in which it ends breaks, and only there.
        assert_eq!(penalized(&dry(&["za"]), "abcdabc"), [('d', 2.0)]);
        assert_eq!(penalized(&dry(&["za"]), "zabcdzabc"), [('d', 1.0)]);
    }

    #[test]
    fn a_penalty_leaves_the_token_possible() {
        let steep = Dry { multiplier: 100.0, base: 10.0, ..dry(&[]) };
        let found = penalized(&steep, &"a".repeat(200));
        assert!(matches!(found[..], [('a', penalty)] if penalty.is_finite()), "{found:?}");
    }

    proptest! {
        #[test]
        fn it_is_the_definition(
            text in prop::collection::vec(0u32..4, 0..60),
            lengths in prop::collection::vec(0usize..60, 1..8),
            allowed_length in 1u32..4, window in 0u32..30, breaker in prop::option::of(0u32..4),
        ) {
            let breakers = breaker.map(|id| Letters::char(id).to_string()).into_iter().collect();
            let dry = Dry { multiplier: 0.8, base: 1.75, allowed_length, window, breakers };
            let mut penalty = DryPenalty::new(&dry).unwrap();
            for len in lengths {
                let text = &text[..len.min(text.len())];
                let (mut ours, mut theirs) = (vec![0.0; 27], vec![0.0; 27]);
                apply(&mut penalty, text, &mut ours);
                naive(&dry, text, |at| Some(text[at]) == breaker, &mut theirs);
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
