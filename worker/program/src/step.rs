//! The cut between what a model computes and how requests share it.

use thiserror::Error;

/// A model on a device, ready to take tokens.
///
/// The result for a sequence depends on its own tokens alone: which path a row
/// takes is decided by its [`Stage`], never by the rows beside it. So a request
/// gives the same output in whatever company it runs.
pub trait Program: Send {
    /// Keys and values of one sequence. Dropping it gives its memory back.
    type Cache: Send;

    /// An empty cache, with nothing of the context taken yet.
    fn cache(&self) -> Self::Cache;

    /// Takes the tokens of every row through the model, appends their keys and
    /// values to the rows' caches, and returns one answer a row, in order: the
    /// logits after the row's last token, or `None` where they were not asked for.
    ///
    /// # Errors
    /// A fault of the device. The caches of the batch are no longer usable.
    fn step(&mut self, batch: &mut [Row<'_, Self::Cache>]) -> Result<Vec<Option<Vec<f32>>>, StepError>;
}

/// The part of one sequence in a step.
#[derive(Debug)]
pub struct Row<'a, C> {
    /// Holds the keys and values of the `start` tokens before `tokens`.
    pub cache: &'a mut C,
    /// Position of the first of `tokens`.
    pub start: usize,
    /// One token in decode, up to [`PREFILL_CHUNK`] in prefill.
    pub tokens: &'a [u32],
    /// Which path to take.
    pub stage: Stage,
}

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reads a piece of the prompt.
    Prefill {
        /// Whether this is the last piece, so that logits are wanted.
        last: bool,
    },
    /// Takes the one token that was sampled last.
    Decode,
}

impl Stage {
    /// Whether logits are wanted.
    #[must_use]
    pub fn wants_logits(self) -> bool {
        match self {
            Stage::Prefill { last } => last,
            Stage::Decode => true,
        }
    }
}

/// Tokens of a prompt that one step takes, at positions that are multiples of
/// this: a prompt is cut at the same places whatever runs beside it.
pub const PREFILL_CHUNK: usize = hearth_model::footprint::PREFILL_CHUNK as usize;

/// A fault of the device.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a step failed on the device: {message}")]
pub struct StepError {
    /// What is known of it.
    pub message: String,
}
