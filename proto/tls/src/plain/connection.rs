//! One connection, to its end.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::activity::{Activity, Counted};
use super::{Limits, Protocol};

/// How often a silent HTTP/2 client is asked whether it is still there: a dead one must not
/// hold memory of a GPU for longer than this and the timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// For a client that never asked for anything to hear that its connection is closed.
const GOODBYE: Duration = Duration::from_secs(10);

type BoxError = Box<dyn Error + Send + Sync>;

pub(super) async fn serve<S, B>(
    stream: TcpStream,
    service: S,
    protocol: Protocol,
    limits: Limits,
    closing: CancellationToken,
) -> Result<(), BoxError>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Error + Send + Sync + 'static,
{
    let activity = Activity::new();
    let mut builder = Builder::new(TokioExecutor::new());
    // Between two requests, too, the next one's head is what is waited for.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    if protocol == Protocol::Grpc {
        builder = builder.http2_only();
    }
    let counted = Counted { service, activity: activity.clone() };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), counted));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = closing.cancelled() => {}
        () = activity.idle(limits.first_request, limits.idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => ended,
        // The client does not hear of it.
        () = activity.idle(GOODBYE, limits.idle) => Ok(()),
    }
}
