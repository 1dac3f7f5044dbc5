//! A sequence that has pages.

use hearth_program::{Answers, PREFILL_CHUNK, Row, Stage};
use hearth_sample::Workspace;
use hearth_text::tokenizer::Tokenizer;

use crate::kv::{Full, Table};

use super::cost::Work;
use super::sequence::{Fate, Sequence};
use super::turns::Piece;

/// Tokens that a decode row replays at a time, where a sequence is taken up again:
/// each is answered, and nobody reads the answers.
const REPLAY: usize = 16;

/// A request that takes part in steps. Its pages go when it goes.
pub(super) struct Running {
    pub(super) sequence: Sequence,
    table: Table,
    /// How many of the sequence's tokens the pages hold.
    taken: usize,
    /// How many of its first tokens are read as a prompt; what follows decodes.
    read_to: usize,
    /// The row of the step under way.
    row: Option<Planned>,
    /// Its tokens: some of the sequence's, and guesses behind them.
    tokens: Vec<u32>,
    /// Guesses of the last row that were right.
    right: usize,
}

/// What a row will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    stage: Stage,
    /// Tokens of the sequence; what else there is are guesses.
    known: usize,
}

impl Running {
    /// Begins, or goes on, with what the table holds already. If generated tokens can
    /// be read like a prompt, they are.
    pub(super) fn new(sequence: Sequence, table: Table, reads_output: bool) -> Self {
        let taken = table.shared_tokens();
        let read_to = if reads_output { sequence.tokens.len() } else { sequence.prompt_len };
        Self { sequence, table, taken, read_to, row: None, tokens: Vec::new(), right: 0 }
    }

    /// Notes what was found of the prompt when it first runs: so many tokens.
    pub(super) fn begin(&mut self) -> usize {
        if self.sequence.cached.is_some() {
            return 0;
        }
        self.sequence.cached = Some(self.taken);
        self.taken
    }

    /// How many of a sequence's first tokens its table may begin with: the last one
    /// has to be computed, as its answer is wanted.
    pub(super) fn most_shared(sequence: &Sequence, reads_output: bool) -> usize {
        let read_to = if reads_output { sequence.tokens.len() } else { sequence.prompt_len };
        read_to.min(sequence.tokens.len().saturating_sub(1))
    }

    /// Gives the pages back.
    pub(super) fn set_aside(self) -> Sequence {
        self.sequence
    }

    pub(super) fn reads(&self) -> bool {
        self.taken < self.read_to
    }

    /// Whether it is about to be asked for the token that follows its text, so that
    /// guesses at what follows are of use.
    pub(super) fn can_guess(&self) -> bool {
        !self.reads() && self.taken + 1 == self.sequence.tokens.len()
    }

    /// Pages a group that it has still to take for what it is reading.
    pub(super) fn wants(&self) -> Vec<usize> {
        // One more position than is read: the first that decodes.
        let end = if self.reads() { self.sequence.tokens.len() + 1 } else { 0 };
        self.table.wants(end)
    }

    /// Tokens that the next row takes at the most, without guesses.
    pub(super) fn next_tokens(&self) -> usize {
        if self.reads() {
            (self.read_to - self.taken).min(PREFILL_CHUNK)
        } else {
            (self.sequence.tokens.len() - self.taken).min(REPLAY)
        }
    }

    /// What the next row is, of `most` tokens, without guesses.
    fn plan(&self, most: usize) -> Planned {
        let known = self.next_tokens().min(most);
        let last = self.taken + known == self.sequence.tokens.len();
        let stage = if self.reads() { Stage::Prefill { last } } else { Stage::Decode };
        Planned { stage, known }
    }

    /// What the next row costs, without guesses.
    pub(super) fn work(&self) -> Work {
        let Planned { stage, known } = self.plan(usize::MAX);
        work(stage, known, self.taken)
    }

    /// What of the prompt could be read next; `index` is the sequence's.
    pub(super) fn piece(&self, index: usize) -> Piece {
        Piece { index, start: self.taken, tokens: self.next_tokens() }
    }

    /// Makes the next row, of `most` tokens: takes the pages for it, and gives back those that
    /// it does not see. If there are too few for the guesses, the row goes without.
    pub(super) fn begin_row(&mut self, most: usize, guesses: &[u32]) -> Result<Work, Full> {
        let Planned { stage, known } = self.plan(most);
        self.table.slide(self.taken);
        self.table.reserve(self.taken + known)?;
        self.tokens.clear();
        self.tokens.extend_from_slice(&self.sequence.tokens[self.taken..self.taken + known]);
        if self.can_guess() && self.table.reserve(self.taken + known + guesses.len()).is_ok() {
            self.tokens.extend_from_slice(guesses);
        }
        self.row = Some(Planned { stage, known });
        Ok(work(stage, self.tokens.len(), self.taken))
    }

    /// The row of the step under way, if it has one.
    pub(super) fn row(&self) -> Option<Row<'_>> {
        let Planned { stage, known: _ } = self.row?;
        Some(Row { tables: self.table.tables(), start: self.taken, tokens: &self.tokens, stage })
    }

    /// Guesses in the row of the step under way.
    pub(super) fn guesses(&self) -> usize {
        self.row.map_or(0, |row| self.tokens.len() - row.known)
    }

    /// Guesses of the last row that were right.
    pub(super) fn right(&self) -> usize {
        self.right
    }

    /// Takes the answers to its row, the `row`th of the step.
    pub(super) fn accept(
        &mut self,
        answers: &mut Answers,
        row: usize,
        shares_output: bool,
        tokenizer: &Tokenizer,
        workspace: &mut Workspace,
    ) -> Fate {
        let Some(Planned { stage, known }) = self.row.take() else { return Fate::GoesOn };
        self.taken += known;
        self.right = 0;
        let mut fate = Fate::GoesOn;
        if self.taken == self.sequence.tokens.len() {
            let first = if stage == Stage::Decode { known - 1 } else { 0 };
            for nth in 0.. {
                let Some(logits) = answers.get_mut(row, first + nth) else { break };
                fate = self.sequence.pick(logits, tokenizer, workspace);
                let (Fate::GoesOn, Some(guess)) = (&fate, self.tokens.get(known + nth)) else { break };
                if self.sequence.tokens.last() != Some(guess) {
                    break;
                }
                // The row went on with this very token, so its answer is what follows.
                self.right += 1;
                self.taken += 1;
            }
        }
        let shared = if shares_output { self.taken } else { self.taken.min(self.sequence.prompt_len) };
        self.table.share(&self.sequence.tokens[..shared]);
        self.sequence.luck.learn(self.tokens.len() - known, self.right, self.sequence.guesses);
        fate
    }
}

fn work(stage: Stage, tokens: usize, start: usize) -> Work {
    match stage {
        Stage::Prefill { .. } => Piece { index: 0, start, tokens }.work(tokens),
        Stage::Decode => Work { decode: tokens, context: start + tokens, ..Work::default() },
    }
}
