//! The way of an answer from its generation to its client.
//!
//! A generation runs in a task of its own, and that task holds the replica. So its deadline
//! counts whether or not anybody asks for the next item, as no server does for a client that
//! does not read: HTTP/2's flow control and the send buffer of a socket see to that. Between
//! the two lie a few items, and a client that lets them lie loses its place.

use std::time::Duration;

use futures::{Stream, stream};
use hearth_proto::inference::v1::{GenerateResponse, generate_response::Event};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument as _;

use super::generation::Generation;

/// Items that may lie between a generation and its client: about a second of tokens, so that
/// neither waits for the other's turn, and a few kilobytes.
const ITEMS: usize = 32;

/// An event, or the status that ends it all.
pub type Item = Result<GenerateResponse, Status>;

/// A generation as its client sees it. Dropping it takes it back from wherever it is: it leaves
/// the queue, or the worker's call is cancelled and the replica is free.
#[derive(Debug)]
pub struct Delivery {
    items: mpsc::Receiver<Item>,
    task: AbortOnDropHandle<()>,
    ended: bool,
}

impl Delivery {
    /// Sets a generation going. It ends when its client takes nothing for as long as `patience`.
    pub(super) fn start(generation: Generation, patience: Duration) -> Self {
        let (sender, items) = mpsc::channel(ITEMS);
        let task = tokio::spawn(deliver(generation, sender, patience).in_current_span());
        Self { items, task: AbortOnDropHandle::new(task), ended: false }
    }

    /// The next item. The last one is a `finish` event or an error, and there is exactly one of
    /// those; after it comes `None`.
    pub async fn next(&mut self) -> Option<Item> {
        if self.ended {
            return None;
        }
        let item = self.items.recv().await.unwrap_or_else(|| {
            let finished = self.task.is_finished();
            tracing::error!(finished, "the task of a generation ended without a last item");
            Err(Status::internal("the generation ended without an end"))
        });
        self.ended = is_last(&item);
        Some(item)
    }

    /// The items as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Item> + Send {
        stream::unfold(self, |mut delivery| async {
            let item = delivery.next().await?;
            Some((item, delivery))
        })
    }
}

async fn deliver(mut generation: Generation, items: mpsc::Sender<Item>, patience: Duration) {
    // The last item has a place of its own: it waits for nobody.
    let Ok(last) = items.clone().try_reserve_owned() else { return };
    while let Some(item) = generation.next().await {
        if is_last(&item) {
            last.send(item);
            return;
        }
        if let Ok(GenerateResponse { event: Some(Event::Waiting(_)) }) = &item {
            // Whoever does not read misses nothing by one notice less, and keeps its place.
            let _ = items.try_send(item);
            continue;
        }
        match generation.unless_over(items.reserve(), patience).await {
            Ok(Ok(place)) => place.send(item),
            // The client went away.
            Ok(Err(_)) => return,
            Err(status) => {
                last.send(Err(status));
                return;
            }
        }
    }
}

fn is_last(item: &Item) -> bool {
    !matches!(item, Ok(GenerateResponse { event: None | Some(Event::Waiting(_) | Event::Delta(_)) }))
}
