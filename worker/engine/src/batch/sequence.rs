//! One request, from its submission to its end.

use std::sync::Arc;

use hearth_sample::{Logprobs, Next, PickError, Picked, Picker, Workspace};
use hearth_text::tokenizer::Tokenizer;
use hearth_text::{Output, Scan};

use crate::api::{Cancelled, FinishReason, Outlet, RequestError, TokenLogprob, TokenLogprobs, Usage};

use super::Job;
use super::guess::Luck;

/// What is known of a request, whether it runs or waits. It can be set aside at any
/// step and taken up again: what follows depends on its tokens alone.
pub(super) struct Sequence {
    /// Counts requests in the order in which they came.
    pub(super) number: u64,
    pub(super) salt: Arc<str>,
    /// The prompt, then what was generated.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_len: usize,
    /// Tokens of the prompt that were found in pages of others, when it first ran.
    pub(super) cached: Option<usize>,
    /// Guesses that a step may check at the most.
    pub(super) guesses: usize,
    pub(super) luck: Luck,
    max_tokens: usize,
    generated: usize,
    picker: Picker,
    output: Output,
    outlet: Outlet,
    cancelled: Cancelled,
}

/// What becomes of a sequence after a token.
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
    pub(super) fn new(number: u64, job: Job, context_tokens: u32) -> Self {
        let Job { prompt, salt, guesses, picker, stop, outlet, cancelled } = job;
        let room = (context_tokens as usize).saturating_sub(prompt.len());
        Self {
            number,
            salt,
            prompt_len: prompt.len(),
            tokens: prompt,
            cached: None,
            guesses,
            luck: Luck::default(),
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

    /// Tokens that may still be generated.
    pub(super) fn left(&self) -> usize {
        self.max_tokens.saturating_sub(self.generated)
    }

    /// Picks the token that follows by logits, which it changes, and sends it.
    pub(super) fn pick(
        &mut self,
        logits: &mut [f32],
        tokenizer: &Tokenizer,
        workspace: &mut Workspace,
    ) -> Fate {
        let Picked { id, logprobs } = match self.picker.pick(logits, &self.tokens, workspace) {
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
                (Ok(()), Next::Token) if self.left() == 0 => self.flush(FinishReason::Length),
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
        let usage = Usage {
            prompt_tokens: count(self.prompt_len),
            cached_tokens: count(self.cached.unwrap_or(0)),
            completion_tokens: count(self.generated),
        };
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
