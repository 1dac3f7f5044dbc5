//! The stream that a request ends up as.

use thiserror::Error;

use super::RequestError;

/// Takes the items of one request, on the engine's device thread.
///
/// An implementation must not block: the thread serves everybody else too.
/// Whoever cannot take an item now answers [`Gone`], or buffers it.
pub trait Sink: Send {
    /// Takes the next item.
    ///
    /// # Errors
    /// [`Gone`] when nobody listens any more. The request is cancelled within
    /// one step, and the sink hears nothing further.
    fn send(&mut self, item: Item) -> Result<(), Gone>;
}

impl<F: FnMut(Item) -> Result<(), Gone> + Send> Sink for F {
    fn send(&mut self, item: Item) -> Result<(), Gone> {
        self(item)
    }
}

/// The listener went away.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the listener went away")]
pub struct Gone;

/// One thing that a request produced. Exactly one [`Finish`](Item::Finish) or
/// [`Failed`](Item::Failed) ends every request.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A piece of the output.
    Delta {
        /// Whole characters; empty while a character or a possible stop
        /// sequence is incomplete.
        text: String,
        /// Tokens generated since the last delta. Their text may come later.
        token_ids: Vec<u32>,
        /// One for each of `token_ids`, if they were asked for.
        logprobs: Vec<TokenLogprobs>,
    },
    /// The output is complete.
    Finish {
        /// What ended it.
        reason: FinishReason,
        /// What it cost.
        usage: Usage,
        /// The stop sequence that ended it, if one did.
        stop_sequence: Option<String>,
    },
    /// The output will not be completed.
    Failed(RequestError),
}

impl Item {
    /// Whether nothing follows it.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self {
            Item::Delta { .. } => false,
            Item::Finish { .. } | Item::Failed(_) => true,
        }
    }
}

/// The log probabilities of one place in the output.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token there.
    pub token: TokenLogprob,
    /// Of the likeliest tokens, the likeliest first; the one that is there need
    /// not be among them.
    pub top: Vec<TokenLogprob>,
}

/// The log probability of one token, of the model's own distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// What it stands for; not always whole characters.
    pub bytes: Vec<u8>,
    /// A natural logarithm.
    pub logprob: f32,
}

/// What ended an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, a stop sequence was met, or the constraint allows
    /// nothing more.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
}

/// Tokens read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, with those that the template or the model added.
    pub prompt_tokens: u32,
    /// How many of them were not computed, because an earlier request began with them.
    pub cached_tokens: u32,
    /// Tokens generated, with the one that ended the turn.
    pub completion_tokens: u32,
}

/// A [`Sink`] that cannot be left without a terminal item: dropping it early
/// sends one.
pub(crate) struct Outlet {
    sink: Option<Box<dyn Sink>>,
}

impl Outlet {
    pub(crate) fn new(sink: Box<dyn Sink>) -> Self {
        Self { sink: Some(sink) }
    }

    /// Sends a delta; after [`Gone`] nothing more is sent.
    pub(crate) fn delta(
        &mut self,
        text: String,
        token_ids: Vec<u32>,
        logprobs: Vec<TokenLogprobs>,
    ) -> Result<(), Gone> {
        let sink = self.sink.as_mut().ok_or(Gone)?;
        sink.send(Item::Delta { text, token_ids, logprobs }).inspect_err(|_| self.sink = None)
    }

    pub(crate) fn finish(mut self, reason: FinishReason, usage: Usage, stop_sequence: Option<String>) {
        self.end(Item::Finish { reason, usage, stop_sequence });
    }

    pub(crate) fn fail(mut self, error: RequestError) {
        self.end(Item::Failed(error));
    }

    fn end(&mut self, item: Item) {
        if let Some(mut sink) = self.sink.take() {
            // A listener who is gone has no use for a last word either.
            let _ = sink.send(item);
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.end(Item::Failed(RequestError::Aborted {
            reason: "the engine let go of the request before it was done".into(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{FinishReason, Gone, Item, Outlet, RequestError, Usage};

    fn recorder() -> (Arc<Mutex<Vec<Item>>>, Outlet) {
        let items = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&items);
        let outlet = Outlet::new(Box::new(move |item| {
            kept.lock().unwrap().push(item);
            Ok(())
        }));
        (items, outlet)
    }

    #[test]
    fn an_outlet_that_is_dropped_fails() {
        let (items, outlet) = recorder();
        drop(outlet);
        assert!(matches!(items.lock().unwrap().as_slice(), [Item::Failed(RequestError::Aborted { .. })]));
    }

    #[test]
    fn a_finished_outlet_says_nothing_more() {
        let (items, outlet) = recorder();
        outlet.finish(FinishReason::Stop, Usage::default(), None);
        assert!(matches!(items.lock().unwrap().as_slice(), [Item::Finish { .. }]));
    }

    #[test]
    fn nothing_reaches_a_sink_that_said_gone() {
        let count = Arc::new(Mutex::new(0));
        let kept = Arc::clone(&count);
        let mut outlet = Outlet::new(Box::new(move |_| {
            *kept.lock().unwrap() += 1;
            Err(Gone)
        }));
        assert_eq!(outlet.delta("a".into(), vec![1], vec![]), Err(Gone));
        assert_eq!(outlet.delta("b".into(), vec![2], vec![]), Err(Gone));
        drop(outlet);
        assert_eq!(*count.lock().unwrap(), 1);
    }
}
