//! Requests under way on one connection, to the end of their responses.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::{Service, ServiceExt as _};

/// Counts them. Clones count the same.
#[derive(Clone, Debug)]
pub(super) struct Activity(watch::Sender<Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    now: usize,
    ever: bool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    fn begin(&self) -> Busy {
        self.0.send_modify(|count| {
            count.now += 1;
            count.ever = true;
        });
        Busy(self.clone())
    }

    /// Waits until there was nothing for so long, or, at first, for `first`.
    pub(super) async fn idle(&self, first: Duration, later: Duration) {
        let mut counts = self.0.subscribe();
        loop {
            // The sender is ours, so waiting cannot fail.
            let _ = counts.wait_for(|count| count.now == 0).await;
            let patience = if counts.borrow_and_update().ever { later } else { first };
            // Any change: what began may have ended again before this task had its turn.
            if timeout(patience, counts.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// One request.
#[derive(Debug)]
struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| count.now -= 1);
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    pub(super) service: S,
    pub(super) activity: Activity,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Counting<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = self.activity.begin();
        let service = self.service.clone();
        Box::pin(async move {
            let response = service.oneshot(request).await?;
            Ok(response.map(|body| Counting { body: Box::pin(body), _busy: busy }))
        })
    }
}

/// A body that counts until it has ended.
#[derive(Debug)]
pub(super) struct Counting<B> {
    body: Pin<Box<B>>,
    _busy: Busy,
}

impl<B: Body> Body for Counting<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
