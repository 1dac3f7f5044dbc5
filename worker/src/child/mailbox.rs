//! Items on their way from the engine's thread to a client that may be slow.
//!
//! The engine must not wait for a client, and a client may stop reading. What
//! is not read is merged into one piece, so that a mailbox holds at most one
//! delta and the end, and its memory is bounded by the output's own length.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use hearth_engine::{Cancel, Gone, Item, Sink};
use hearth_proto::inference::v1::generate_response::Event;
use hearth_proto::inference::v1::{Delta, GenerateResponse, TokenLogprobs};
use tonic::Status;

use super::convert;

#[derive(Default)]
struct Contents {
    text: String,
    token_ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
    /// There is a delta, perhaps with empty text and no ids.
    delta: bool,
    end: Option<Result<Event, Status>>,
    ended: bool,
    gone: bool,
    reader: Option<Waker>,
}

/// Both ends of a new mailbox.
pub(super) fn mailbox() -> (MailboxSink, Reader) {
    let shared = Arc::new(Mutex::new(Contents::default()));
    (MailboxSink(shared.clone()), Reader { shared, cancel: None })
}

/// No holder of the lock can panic, so a poisoned one is whole.
fn lock(shared: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine's end.
pub(super) struct MailboxSink(Arc<Mutex<Contents>>);

impl Sink for MailboxSink {
    fn send(&mut self, item: Item) -> Result<(), Gone> {
        let mut shared = lock(&self.0);
        if shared.gone {
            return Err(Gone);
        }
        match item {
            Item::Delta { text, token_ids, logprobs } => {
                shared.text.push_str(&text);
                shared.token_ids.extend(token_ids);
                shared.logprobs.extend(logprobs.into_iter().map(convert::logprobs));
                shared.delta = true;
            }
            Item::Finish { reason, usage, stop_sequence } => {
                shared.end = Some(Ok(Event::Finish(convert::finish(reason, usage, stop_sequence))));
            }
            Item::Failed(error) => shared.end = Some(Err(convert::request_error(&error))),
        }
        let waker = shared.reader.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

/// The client's end. Dropping it cancels the request.
pub(super) struct Reader {
    shared: Arc<Mutex<Contents>>,
    cancel: Option<Cancel>,
}

impl Reader {
    /// Ties the request's life to this end.
    pub(super) fn with(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.shared).gone = true;
    }
}

impl Stream for Reader {
    type Item = Result<GenerateResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = lock(&self.shared);
        if std::mem::take(&mut shared.delta) {
            let delta = Delta {
                text: std::mem::take(&mut shared.text),
                token_ids: std::mem::take(&mut shared.token_ids),
                logprobs: std::mem::take(&mut shared.logprobs),
            };
            return Poll::Ready(Some(Ok(GenerateResponse { event: Some(Event::Delta(delta)) })));
        }
        if let Some(end) = shared.end.take() {
            shared.ended = true;
            return Poll::Ready(Some(end.map(|event| GenerateResponse { event: Some(event) })));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        shared.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use hearth_engine::{FinishReason, TokenLogprob, Usage};

    fn delta(text: &str, id: u32) -> Item {
        let token = TokenLogprob { id, bytes: text.into(), logprob: -1.0 };
        let logprobs = vec![hearth_engine::TokenLogprobs { token, top: vec![] }];
        Item::Delta { text: text.into(), token_ids: vec![id], logprobs }
    }

    fn finish() -> Item {
        Item::Finish { reason: FinishReason::Stop, usage: Usage::default(), stop_sequence: None }
    }

    #[tokio::test]
    async fn what_is_not_read_is_merged() {
        let (mut sink, mut reader) = mailbox();
        sink.send(delta("a", 1)).unwrap();
        sink.send(delta("b", 2)).unwrap();
        sink.send(finish()).unwrap();
        let first = reader.next().await.unwrap().unwrap().event;
        let Some(Event::Delta(Delta { text, token_ids, logprobs })) = first else { panic!("{first:?}") };
        assert_eq!((text.as_str(), token_ids), ("ab", vec![1, 2]));
        let of = logprobs.into_iter().filter_map(|logprobs| logprobs.token);
        assert_eq!(
            of.map(|token| (token.id, token.bytes)).collect::<Vec<_>>(),
            [(1, b"a".to_vec()), (2, b"b".to_vec())]
        );
        assert!(matches!(reader.next().await.unwrap().unwrap().event, Some(Event::Finish(_))));
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let (mut sink, mut reader) = mailbox();
        let reading = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        sink.send(delta("a", 1)).unwrap();
        assert!(reading.await.unwrap().unwrap().is_ok());
    }

    #[test]
    fn the_engine_hears_that_the_reader_went() {
        let (mut sink, reader) = mailbox();
        drop(reader);
        assert_eq!(sink.send(delta("a", 1)), Err(Gone));
    }
}
