//! The choices of one answer: as many generations, side by side.

use std::sync::Arc;

use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use hearth_proto::inference::v1::GenerateResponse;
use tonic::Status;

use crate::gateway::{
    deadline::Deadline,
    forward::{Forwarder, message::Message},
    refusal::Refusal,
};

/// An item, and which choice it belongs to.
type Item = (u32, Result<GenerateResponse, Status>);

/// The generations of one answer. Dropping them takes back what is not done.
pub(super) struct Choices(SelectAll<BoxStream<'static, Item>>);

impl Choices {
    /// Begins `count` generations of one request. A seed is the first choice's, and those of
    /// the others follow from it.
    pub(super) fn begin(
        forwarder: &Arc<Forwarder>,
        message: &Message,
        count: u32,
        deadline: Deadline,
    ) -> Result<Self, Refusal> {
        let begin = |index: u32| {
            let generation = forwarder.generate(message.nth(index), deadline)?;
            Ok(generation.into_stream().map(move |item| (index, item)).boxed())
        };
        Ok(Self(stream::select_all((0..count).map(begin).collect::<Result<Vec<_>, _>>()?)))
    }

    /// The next item of any of them.
    pub(super) async fn next(&mut self) -> Option<Item> {
        self.0.next().await
    }

    /// The items as a stream. It ends with the first error: an answer that lacks a choice is
    /// none, and the other choices are taken back.
    pub(super) fn into_stream(self) -> impl Stream<Item = Item> + Send {
        stream::unfold(Some(self), |choices| async {
            let mut choices = choices?;
            let item = choices.next().await?;
            let rest = item.1.is_ok().then_some(choices);
            Some((item, rest))
        })
    }
}
