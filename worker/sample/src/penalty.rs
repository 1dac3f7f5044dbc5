//! Repetition, presence and frequency penalties.

use std::collections::HashMap;

use crate::Sampling;
use crate::edits::Edits;

/// How often each token is in the window, kept up to date as the text grows.
#[derive(Clone, Debug)]
pub(crate) struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
    /// Tokens; `usize::MAX` for all.
    window: usize,
    prompt_len: usize,
    /// Tokens of the text that are counted, or were.
    taken: usize,
    counts: HashMap<u32, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    prompt: u32,
    output: u32,
}

impl Penalties {
    /// `None` if nothing is penalized. The first `prompt_len` tokens of the text
    /// are the prompt.
    pub(crate) fn new(sampling: &Sampling, prompt_len: usize) -> Option<Self> {
        sampling.penalizes().then(|| Self {
            repetition: sampling.repetition_penalty,
            presence: sampling.presence_penalty,
            frequency: sampling.frequency_penalty,
            window: match sampling.penalty_window {
                0 => usize::MAX,
                window => window as usize,
            },
            prompt_len,
            taken: 0,
            counts: HashMap::new(),
        })
    }

    /// Penalizes for what is in `text`, prompt and output.
    pub(crate) fn apply(&mut self, text: &[u32], logits: &mut Edits<'_>) {
        self.take(text);
        for (&id, count) in &self.counts {
            logits.change(id, |logit| self.penalized(logit, *count));
        }
    }

    fn penalized(&self, logit: f32, Count { prompt: _, output }: Count) -> f32 {
        let logit = if logit > 0.0 { logit / self.repetition } else { logit * self.repetition };
        if output == 0 {
            return logit;
        }
        // A count is far below 2^24, so it is exact.
        logit - self.presence - self.frequency * output as f32
    }

    fn take(&mut self, text: &[u32]) {
        if text.len() < self.taken {
            // Something was taken back: rare, so not worth more than starting anew.
            self.counts.clear();
            self.taken = 0;
        }
        let begins = |len: usize| len.saturating_sub(self.window);
        let (left, stays) = (begins(self.taken), begins(text.len()));
        // Tokens that came and left meanwhile need no counting.
        for at in left..stays.min(self.taken) {
            self.count(text, at, |n| n.saturating_sub(1));
        }
        for at in self.taken.max(stays)..text.len() {
            self.count(text, at, |n| n.saturating_add(1));
        }
        self.taken = text.len();
    }

    fn count(&mut self, text: &[u32], at: usize, change: impl FnOnce(u32) -> u32) {
        let count = self.counts.entry(text[at]).or_default();
        let part = if at < self.prompt_len { &mut count.prompt } else { &mut count.output };
        *part = change(*part);
        if count.prompt == 0 && count.output == 0 {
            self.counts.remove(&text[at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Penalties;
    use crate::Sampling;
    use crate::edits::Edits;

    /// The definitions, word for word.
    fn naive(sampling: &Sampling, prompt_len: usize, text: &[u32], logits: &mut [f32]) {
        let window = if sampling.penalty_window == 0 { text.len() } else { sampling.penalty_window as usize };
        let begins = text.len().saturating_sub(window);
        for (id, logit) in (0u32..).zip(logits) {
            let all = text[begins..].iter().filter(|token| **token == id).count();
            let output = text[begins.max(prompt_len)..].iter().filter(|token| **token == id).count();
            if all > 0 {
                *logit = if *logit > 0.0 {
                    *logit / sampling.repetition_penalty
                } else {
                    *logit * sampling.repetition_penalty
                };
            }
            if output > 0 {
                *logit = *logit - sampling.presence_penalty - sampling.frequency_penalty * output as f32;
            }
        }
    }

    fn apply(penalties: &mut Penalties, text: &[u32], logits: &mut [f32]) {
        penalties.apply(text, &mut Edits::new(logits, &mut Vec::new()));
    }

    #[test]
    fn each_does_what_it_says() {
        let text = [0, 0, 1, 2, 2, 2, 3];
        let penalize = |sampling: Sampling| {
            let mut logits = [2.0, -2.0, 2.0, -2.0, 2.0];
            apply(&mut Penalties::new(&sampling, 3).unwrap(), &text, &mut logits);
            logits
        };
        let none = Sampling::default;
        assert!(Penalties::new(&none(), 3).is_none());
        // Prompt and output alike, towards zero from above, away from it below.
        assert_eq!(penalize(Sampling { repetition_penalty: 2.0, ..none() }), [1.0, -4.0, 1.0, -4.0, 2.0]);
        // The output alone.
        assert_eq!(penalize(Sampling { presence_penalty: 0.5, ..none() }), [2.0, -2.0, 1.5, -2.5, 2.0]);
        assert_eq!(penalize(Sampling { frequency_penalty: 0.5, ..none() }), [2.0, -2.0, 0.5, -2.5, 2.0]);
        // Of the last two tokens alone.
        let windowed = Sampling { frequency_penalty: 0.5, penalty_window: 2, ..none() };
        assert_eq!(penalize(windowed), [2.0, -2.0, 1.5, -2.5, 2.0]);
    }

    proptest! {
        #[test]
        fn growing_texts_are_counted_as_if_anew(
            text in prop::collection::vec(0u32..12, 0..60),
            lengths in prop::collection::vec(0usize..60, 1..12),
            prompt_len in 0usize..60,
            window in 0u32..20,
            repetition_penalty in 0.5f32..2.0,
            presence_penalty in -2.0f32..2.0,
            frequency_penalty in -2.0f32..2.0,
        ) {
            let sampling = Sampling {
                repetition_penalty, presence_penalty, frequency_penalty, penalty_window: window,
                ..Sampling::default()
            };
            let prompt_len = prompt_len.min(text.len());
            let mut penalties = Penalties::new(&sampling, prompt_len).unwrap();
            // Lengths go up and down, as with drafts that are taken back.
            for len in lengths {
                let text = &text[..len.clamp(prompt_len, text.len())];
                let start = (0..10).map(|n| n as f32 - 5.0).collect::<Vec<_>>();
                let (mut ours, mut theirs) = (start.clone(), start);
                apply(&mut penalties, text, &mut ours);
                naive(&sampling, prompt_len, text, &mut theirs);
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
