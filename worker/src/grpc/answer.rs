//! One generation on its way from an engine process to a client.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use hearth_proto::inference::v1::GenerateResponse;
use hearth_proto::inference::v1::generate_response::Event;
use tokio::time::{Sleep, sleep_until};
use tonic::{Code, Status};

use super::deadline::exceeded;
use crate::fleet::route::Running;
use crate::metrics::RequestMetrics;
use crate::status;

/// An engine process that died is back about this soon.
const RETRY_AFTER_DEATH: Duration = Duration::from_secs(2);

/// A stream that ends with exactly one `finish`, or with exactly one status
/// other than OK. Dropping it cancels the request in the engine.
pub(super) struct Answer {
    events: BoxStream<'static, Result<GenerateResponse, Status>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Resolves when this worker can wait no longer.
    cut: BoxFuture<'static, ()>,
    /// Something was sent that cannot be taken back.
    begun: bool,
    ended: bool,
    metrics: RequestMetrics,
    // Held for their Drop.
    _running: [Running; 2],
}

impl Answer {
    pub(super) fn new(
        events: BoxStream<'static, Result<GenerateResponse, Status>>,
        deadline: Option<Instant>,
        cut: BoxFuture<'static, ()>,
        metrics: RequestMetrics,
        running: [Running; 2],
    ) -> Self {
        Self {
            events,
            deadline: deadline.map(|at| Box::pin(sleep_until(at.into()))),
            cut,
            begun: false,
            ended: false,
            metrics,
            _running: running,
        }
    }

    fn end(&mut self, result: Result<GenerateResponse, Status>) -> Poll<Option<<Self as Stream>::Item>> {
        self.ended = true;
        self.metrics.end(result.as_ref().map_or_else(Status::code, |_| Code::Ok));
        Poll::Ready(Some(result))
    }
}

impl Stream for Answer {
    type Item = Result<GenerateResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return this.end(Err(exceeded()));
        }
        match this.events.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(response))) => {
                match &response.event {
                    Some(Event::Finish(finish)) => {
                        this.metrics.usage(finish.usage.unwrap_or_default());
                        return this.end(Ok(response));
                    }
                    Some(Event::Delta(_)) => {
                        this.begun = true;
                        this.metrics.delta();
                    }
                    Some(Event::Waiting(_)) | None => {}
                }
                Poll::Ready(Some(Ok(response)))
            }
            Poll::Ready(Some(Err(status))) => {
                let status = explain(status, this.begun);
                this.end(Err(status))
            }
            Poll::Ready(None) => {
                let status = engine_died(this.begun);
                this.end(Err(status))
            }
            Poll::Pending => {
                if this.cut.as_mut().poll(cx).is_ready() {
                    let status = broken_off("this worker is going and could wait no longer", this.begun);
                    return this.end(Err(status));
                }
                Poll::Pending
            }
        }
    }
}

/// What an engine process said, or what its silence means, to a client.
pub(super) fn explain(status: Status, begun: bool) -> Status {
    // A status that our own end of the connection made up has a source.
    if status.source().is_some() {
        return engine_died(begun);
    }
    match status.code() {
        Code::InvalidArgument | Code::ResourceExhausted | Code::Internal => status,
        // The model was there when the request was sent.
        Code::NotFound => broken_off("the model was unloaded", begun),
        Code::Aborted => broken_off(status.message(), begun),
        _ => engine_died(begun),
    }
}

fn engine_died(begun: bool) -> Status {
    broken_off("the engine process ended during the request and is started anew", begun)
}

/// Nothing was sent: another try, here or elsewhere, is the same request. Else
/// only the client knows what to do with the part that it has.
fn broken_off(why: &str, begun: bool) -> Status {
    if begun { Status::aborted(why) } else { status::unavailable(why, RETRY_AFTER_DEATH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_is_told() {
        let code = |status, begun| explain(status, begun).code();
        assert_eq!(code(Status::invalid_argument("x"), false), Code::InvalidArgument);
        assert_eq!(code(Status::resource_exhausted("x"), false), Code::ResourceExhausted);
        assert_eq!(code(Status::internal("x"), true), Code::Internal);
        assert_eq!(code(Status::not_found("x"), false), Code::Unavailable);
        assert_eq!(code(Status::aborted("x"), true), Code::Aborted);
        let let_go = explain(Status::aborted("the device failed"), false);
        assert_eq!((let_go.code(), let_go.message()), (Code::Unavailable, "the device failed"));
        assert_eq!(code(Status::unknown("transport"), true), Code::Aborted);
        assert_eq!(code(Status::cancelled("reset"), false), Code::Unavailable);
        let cut = Status::from_error(Box::new(std::io::Error::other("cut")));
        assert_eq!(code(cut, true), Code::Aborted);
    }
}
