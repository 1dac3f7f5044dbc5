//! Ports that are served without TLS: the gateway's, towards clients, and those of probes and
//! metrics.
//!
//! One accept loop for all of them. It differs from `axum::serve` in what strangers can take:
//! connections are counted, those on which nothing happens are closed, whatever the client has
//! sent of a handshake or a head, and clients that are gone without a word are noticed.

mod activity;
mod connection;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::socket;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 for clients that begin with it.
    Http,
    /// HTTP/2 only.
    Grpc,
}

/// What clients of a port may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. Beyond it the kernel's backlog holds clients back.
    pub connections: usize,
    /// A connection on which no request has begun by then is closed.
    pub first_request: Duration,
    /// A connection without a request for so long is closed. Longer than clients and load
    /// balancers keep idle ones, so that it is they who choose the moment.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, first_request: Duration::from_secs(30), idle: Duration::from_secs(5 * 60) }
    }
}

impl Limits {
    /// For ports that only the kubelet and Prometheus have a use for.
    pub fn of_probes() -> Self {
        Self { connections: 64, ..Self::default() }
    }
}

/// Serves until `shutdown` completes and the last response has ended. Dropping it ends all
/// connections.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    protocol: Protocol,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    let closing = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accept = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            (place, accepted) = accept => match accepted {
                Ok((stream, address)) => {
                    socket::prepare(&stream);
                    let connection =
                        connection::serve(stream, service.clone(), protocol, limits, closing.clone());
                    connections.spawn(async move {
                        let _place = place;
                        if let Err(error) = connection.await {
                            tracing::debug!(%address, error, "a client's connection broke");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(socket::ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    closing.cancel();
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;
