//! The cut between what a model computes and how requests share it.

use thiserror::Error;

use crate::answers::{Answers, Output};
use crate::pages::{PageId, PageLayout};

/// A model on a device, ready to take tokens.
///
/// A program owns its pages and knows nothing of sequences: which page holds
/// whose keys and values is the caller's to decide, step by step, by the tables
/// of the rows. So sequences share what they have in common, and a page that is
/// given to another sequence needs no word to the program.
///
/// The numbers of a token depend on the tokens before it and on the [`Stage`] in which
/// each was taken: not on the rows beside it, and not on where a row begins or ends.
/// So a request gives the same output in whatever company it runs, whether its prompt
/// was found in pages or read, and with guesses as without.
pub trait Program: Send {
    /// The pages that there are. They are allocated when the program is built and
    /// go with it.
    fn pages(&self) -> &PageLayout;

    /// What an answer is made of.
    fn output(&self) -> Output;

    /// Whether a token's keys, values and answer are the same numbers, to the bit,
    /// whether it is read as part of a prompt or decoded. Then output that was
    /// generated is kept for prompts that begin with it, and read like a prompt where
    /// a sequence is computed anew. Otherwise only prompts are.
    fn decodes_as_it_prefills(&self) -> bool {
        false
    }

    /// Pieces of prompts that one step takes at the most, each of another sequence.
    /// What a step holds at its widest is allocated for so many.
    fn prefill_rows(&self) -> usize {
        1
    }

    /// Takes the tokens of every row through the model, writes their keys and
    /// values to the pages that the rows' tables name, and writes
    /// [`Row::answers`] vectors of [`Output::width`] numbers a row to `answers`, in
    /// the order of rows and tokens (see [`Answers::prepare`]).
    ///
    /// # Errors
    /// A fault of the device, or a row that contradicts the layout. What the pages
    /// hold from the first position of each row on is undefined then.
    fn step(&mut self, batch: &[Row<'_>], answers: &mut Answers) -> Result<(), StepError>;
}

/// The part of one sequence in a step.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// A page table for each of [`PageLayout::groups`], in their order. Entry
    /// `position / PAGE_TOKENS` is the page of a position. Tables reach to the last
    /// of `tokens` and may reach further; entries of pages that lie wholly before
    /// the group's window of the first of `tokens` may be [`PageId::NONE`].
    ///
    /// The pages from position `start` on belong to this row alone. Those before it
    /// may be in the tables of other rows, which read them too, but nobody writes
    /// them.
    pub tables: &'a [Vec<PageId>],
    /// Position of the first of `tokens`. Keys and values of all positions before it
    /// (as far as windows reach) are in the pages.
    pub start: usize,
    /// At least one. Up to [`PREFILL_CHUNK`] in prefill. In decode the token that was
    /// picked last, and after it any number of guesses at what follows.
    pub tokens: &'a [u32],
    /// Which path to take.
    pub stage: Stage,
}

impl Row<'_> {
    /// Vectors that the row is answered with: one a token in decode, one for the
    /// last token of a prompt, none before it.
    #[must_use]
    pub fn answers(&self) -> usize {
        match self.stage {
            Stage::Prefill { last } => usize::from(last),
            Stage::Decode => self.tokens.len(),
        }
    }
}

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reads a piece of the prompt.
    Prefill {
        /// Whether this is the last piece, so that an answer is wanted.
        last: bool,
    },
    /// Takes the token that was picked last, and guesses that are checked against
    /// the answers: keys and values of guesses that turn out wrong stay in the pages
    /// and are written over by a later row with the same `start`. Nothing reads
    /// beyond a row's own tokens, so they do no harm.
    Decode,
}

/// Tokens of a prompt that a row takes at the most.
pub const PREFILL_CHUNK: usize = hearth_model::footprint::PREFILL_CHUNK as usize;

/// A fault of the device.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a step failed on the device: {message}")]
pub struct StepError {
    /// What is known of it.
    pub message: String,
}
