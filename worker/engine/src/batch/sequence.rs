//! One running request.

use crate::api::{Cancelled, FinishReason, Outlet, RequestError, Usage};
use hearth_program::{PREFILL_CHUNK, Row, Stage};
use hearth_sample::Sampler;
use hearth_text::tokenizer::Tokenizer;
use hearth_text::{Output, Scan};

use super::Job;
use super::slots::Slot;

/// A request with a place in the batch. Its pages go when it goes.
pub(super) struct Sequence {
    slot: Slot,
    /// The prompt, then what was generated.
    tokens: Vec<u32>,
    prompt_len: usize,
    /// How many of `tokens` the pages hold.
    taken: usize,
    /// How many of `tokens` the step under way takes.
    taking: usize,
    max_tokens: usize,
    generated: usize,
    ignore_eos: bool,
    sampler: Sampler,
    output: Output,
    outlet: Outlet,
    cancelled: Cancelled,
}

/// What becomes of a sequence after a step.
pub(super) enum Fate {
    GoesOn,
    /// Nobody listens.
    Gone,
    Finished {
        reason: FinishReason,
        stop_sequence: Option<String>,
    },
    Failed(RequestError),
}

impl Sequence {
    pub(super) fn new(job: Job, slot: Slot, context_tokens: u32) -> Self {
        let Job { prompt, sampler, stop, outlet, cancelled } = job;
        let room = (context_tokens as usize).saturating_sub(prompt.len());
        Self {
            slot,
            prompt_len: prompt.len(),
            tokens: prompt,
            taken: 0,
            taking: 0,
            max_tokens: stop.max_tokens.map_or(room, |most| room.min(most as usize)),
            generated: 0,
            ignore_eos: stop.ignore_eos,
            sampler,
            output: Output::new(stop.sequences),
            outlet,
            cancelled,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// What the sequence does next.
    pub(super) fn stage(&self) -> Stage {
        if self.taken < self.prompt_len {
            Stage::Prefill { last: self.piece_end() == self.prompt_len }
        } else {
            Stage::Decode
        }
    }

    /// Pieces end at multiples of the chunk, wherever they begin.
    fn piece_end(&self) -> usize {
        ((self.taken / PREFILL_CHUNK + 1) * PREFILL_CHUNK).min(self.prompt_len)
    }

    pub(super) fn row(&mut self, stage: Stage) -> Row<'_> {
        let end = match stage {
            Stage::Prefill { .. } => self.piece_end(),
            Stage::Decode => self.tokens.len(),
        };
        self.taking = end - self.taken;
        let tokens = &self.tokens[self.taken..end];
        Row { tables: self.slot.tables(), start: self.taken, tokens, stage }
    }

    /// Takes the answer to the row of this step.
    pub(super) fn accept(&mut self, logits: Option<&[f32]>, tokenizer: &Tokenizer) -> Fate {
        self.taken += std::mem::take(&mut self.taking);
        let Some(logits) = logits else { return Fate::GoesOn };
        let Some(id) = self.sampler.pick(logits, self.tokens.len() as u64) else {
            let message = "the model computed something that is not a number".into();
            return Fate::Failed(RequestError::Internal { message });
        };
        self.generated += 1;
        if tokenizer.ends_generation(id) && !self.ignore_eos {
            return self.flush(FinishReason::Stop);
        }
        self.tokens.push(id);
        match self.output.push(tokenizer.bytes_of(id)) {
            Scan::Clear(text) => match self.outlet.delta(text, vec![id]) {
                Err(crate::Gone) => Fate::Gone,
                Ok(()) if self.generated >= self.max_tokens => self.flush(FinishReason::Length),
                Ok(()) => Fate::GoesOn,
            },
            Scan::Stopped { text, sequence } => match self.outlet.delta(text, vec![id]) {
                Err(crate::Gone) => Fate::Gone,
                Ok(()) => Fate::Finished { reason: FinishReason::Stop, stop_sequence: Some(sequence) },
            },
        }
    }

    /// Sends what was held back.
    fn flush(&mut self, reason: FinishReason) -> Fate {
        let (text, reason, stop_sequence) = match self.output.finish() {
            Scan::Clear(text) => (text, reason, None),
            Scan::Stopped { text, sequence } => (text, FinishReason::Stop, Some(sequence)),
        };
        if !text.is_empty() && self.outlet.delta(text, vec![]).is_err() {
            return Fate::Gone;
        }
        Fate::Finished { reason, stop_sequence }
    }

    pub(super) fn end(self, fate: Fate) {
        let usage = Usage { prompt_tokens: count(self.prompt_len), completion_tokens: count(self.generated) };
        match fate {
            // The outlet has let go of its sink.
            Fate::GoesOn | Fate::Gone => drop(self),
            Fate::Finished { reason, stop_sequence } => self.outlet.finish(reason, usage, stop_sequence),
            Fate::Failed(error) => self.outlet.fail(error),
        }
    }

    pub(super) fn fail(self, error: RequestError) {
        self.end(Fate::Failed(error));
    }
}

/// A context is a `u32`, and so is everything in it.
fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
