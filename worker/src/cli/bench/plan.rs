//! What is measured: pure, from the arguments.

use std::fmt;

use anyhow::{Context, bail};
use serde::Serialize;

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "test")]
pub(super) enum Work {
    /// Reading a prompt, up to its first token.
    Prefill {
        /// Tokens of the prompt.
        tokens: u32,
    },
    /// One sequence, token after token.
    Decode {
        /// Tokens in the context before the first that counts.
        depth: u32,
        /// Tokens that count.
        tokens: u32,
    },
    /// Several sequences at once, from their requests to the last one's end.
    Batch {
        /// How many.
        sequences: u32,
        /// Tokens of each prompt.
        prompt: u32,
        /// Tokens generated for each.
        tokens: u32,
    },
}

impl Work {
    /// Tokens that count, of all sequences.
    pub(super) fn counted(self) -> u64 {
        match self {
            Self::Prefill { tokens } | Self::Decode { tokens, .. } => tokens.into(),
            Self::Batch { sequences, tokens, .. } => u64::from(sequences) * u64::from(tokens),
        }
    }

    /// Sequences at once, and the tokens that each one's context has to hold.
    fn needs(self) -> Option<Shape> {
        let (sequences, context_tokens) = match self {
            Self::Prefill { tokens } => (1, tokens.checked_add(1)?),
            // The first token comes with the prompt's end, before the clock runs.
            Self::Decode { depth, tokens } => (1, depth.max(1).checked_add(tokens)?.checked_add(1)?),
            Self::Batch { sequences, prompt, tokens } => (sequences, prompt.checked_add(tokens)?),
        };
        Some(Shape { sequences, context_tokens })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefill { tokens } => write!(f, "prefill {tokens}"),
            Self::Decode { depth: 0, tokens } => write!(f, "decode {tokens}"),
            Self::Decode { depth, tokens } => write!(f, "decode {tokens} at {depth}"),
            Self::Batch { sequences, prompt, tokens } => write!(f, "{sequences} × ({prompt} + {tokens})"),
        }
    }
}

/// What the model has to be loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) sequences: u32,
    pub(super) context_tokens: u32,
}

/// Everything to measure, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    works: Vec<Work>,
    shape: Shape,
}

/// Context for the prompt that shows the first token, whatever else is measured.
pub(super) const SMALLEST_CONTEXT: u32 = 64;

impl Plan {
    pub(super) fn new(
        prefill: &[u32],
        decode: u32,
        depths: &[u32],
        batches: &[u32],
        prompt: u32,
    ) -> anyhow::Result<Self> {
        let mut works: Vec<Work> =
            prefill.iter().filter(|n| **n > 0).map(|&tokens| Work::Prefill { tokens }).collect();
        if decode > 0 {
            let tokens = decode;
            if batches.is_empty() {
                works.extend(depths.iter().map(|&depth| Work::Decode { depth, tokens }));
            } else {
                works.extend(batches.iter().map(|&sequences| Work::Batch { sequences, prompt, tokens }));
            }
        }
        if batches.contains(&0) || (!batches.is_empty() && prompt == 0) {
            bail!("a batch needs at least one sequence, and one token of prompt for each");
        }
        let mut shape = Shape { sequences: 1, context_tokens: SMALLEST_CONTEXT };
        for work in &works {
            let needs = work.needs().with_context(|| format!("{work}: no context is that long"))?;
            shape.sequences = shape.sequences.max(needs.sequences);
            shape.context_tokens = shape.context_tokens.max(needs.context_tokens);
        }
        Ok(Self { works, shape })
    }

    pub(super) fn works(&self) -> &[Work] {
        &self.works
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_come_first_then_depths() {
        let plan = Plan::new(&[512, 0], 128, &[0, 4096], &[], 64).unwrap();
        let want = [
            Work::Prefill { tokens: 512 },
            Work::Decode { depth: 0, tokens: 128 },
            Work::Decode { depth: 4096, tokens: 128 },
        ];
        assert_eq!(plan.works(), want);
        assert_eq!(plan.shape(), Shape { sequences: 1, context_tokens: 4096 + 129 });
    }

    #[test]
    fn batches_take_the_place_of_depths() {
        let plan = Plan::new(&[], 16, &[0], &[2, 8], 100).unwrap();
        let batch = |sequences| Work::Batch { sequences, prompt: 100, tokens: 16 };
        assert_eq!(plan.works(), [batch(2), batch(8)]);
        assert_eq!(plan.shape(), Shape { sequences: 8, context_tokens: 116 });
        assert_eq!(batch(8).counted(), 128);
    }

    #[test]
    fn there_is_always_room_for_a_first_token() {
        let plan = Plan::new(&[], 0, &[0], &[], 64).unwrap();
        assert!(plan.works().is_empty());
        assert_eq!(plan.shape(), Shape { sequences: 1, context_tokens: SMALLEST_CONTEXT });
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Plan::new(&[u32::MAX], 0, &[], &[], 1).is_err());
        assert!(Plan::new(&[], 2, &[u32::MAX - 1], &[], 1).is_err());
        assert!(Plan::new(&[], 1, &[], &[0], 1).is_err());
        assert!(Plan::new(&[], 1, &[], &[1], 0).is_err());
    }
}
