//! One running request.

use crate::api::{Cancelled, FinishReason, Outlet, RequestError, TokenLogprob, TokenLogprobs, Usage};
use hearth_program::{PREFILL_CHUNK, Row, Stage};
use hearth_sample::{Logprobs, Next, PickError, Picked, Picker, Workspace};
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
    picker: Picker,
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
        let Job { prompt, picker, stop, outlet, cancelled } = job;
        let room = (context_tokens as usize).saturating_sub(prompt.len());
        Self {
            slot,
            prompt_len: prompt.len(),
            tokens: prompt,
            taken: 0,
            taking: 0,
            max_tokens: stop.max_tokens.map_or(room, |most| room.min(most as usize)),
            generated: 0,
            picker,
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

    /// Takes the answer to the row of this step, which it changes.
    pub(super) fn accept(
        &mut self,
        logits: Option<&mut [f32]>,
        tokenizer: &Tokenizer,
        picking: &mut Workspace,
    ) -> Fate {
        self.taken += std::mem::take(&mut self.taking);
        let Some(logits) = logits else { return Fate::GoesOn };
        let Picked { id, logprobs } = match self.picker.pick(logits, &self.tokens, picking) {
            Ok(Some(picked)) => picked,
            // The constraint is met.
            Ok(None) => return self.flush(FinishReason::Stop),
            Err(error) => return Fate::Failed(failed(&error)),
        };
        self.generated += 1;
        if self.picker.is_end(id) {
            return self.flush(FinishReason::Stop);
        }
        self.tokens.push(id);
        let next = match self.picker.accept(id) {
            Ok(next) => next,
            Err(error) => return Fate::Failed(failed(&error)),
        };
        let logprobs = logprobs.map(|logprobs| named(id, logprobs, tokenizer)).into_iter().collect();
        match self.output.push(tokenizer.bytes_of(id)) {
            Scan::Clear(text) => match (self.outlet.delta(text, vec![id], logprobs), next) {
                (Err(crate::Gone), _) => Fate::Gone,
                (Ok(()), Next::Nothing) => self.flush(FinishReason::Stop),
                (Ok(()), Next::Token) if self.generated >= self.max_tokens => {
                    self.flush(FinishReason::Length)
                }
                (Ok(()), Next::Token) => Fate::GoesOn,
            },
            Scan::Stopped { text, sequence } => match self.outlet.delta(text, vec![id], logprobs) {
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
        if !text.is_empty() && self.outlet.delta(text, vec![], vec![]).is_err() {
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

/// Log probabilities with the bytes of the tokens that they are of.
fn named(id: u32, Logprobs { picked, top }: Logprobs, tokenizer: &Tokenizer) -> TokenLogprobs {
    let named = |id: u32, logprob: f32| TokenLogprob { id, bytes: tokenizer.bytes_of(id).to_vec(), logprob };
    let top = top.into_iter().map(|(id, logprob)| named(id, logprob)).collect();
    TokenLogprobs { token: named(id, picked), top }
}

fn failed(error: &PickError) -> RequestError {
    let message = error.to_string();
    match error {
        PickError::NotANumber => RequestError::Internal { message },
        PickError::Constraint(_) | PickError::DeadEnd => {
            let value = "not to be met in this output".into();
            RequestError::Invalid { field: "constraint", value, message }
        }
    }
}

/// A context is a `u32`, and so is everything in it.
fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
