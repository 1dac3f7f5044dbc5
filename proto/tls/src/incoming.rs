//! The server's side: accepted connections, after their handshakes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::client::causes;
use crate::identity::Identity;
use crate::live::Live;
use crate::peer::Peer;
use crate::socket;

/// A client that has not finished its handshake by then is dropped.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way at once. Beyond it the kernel's backlog holds clients
/// back, so that strangers cannot make us hold memory without bound.
const MOST_HANDSHAKES: usize = 512;

/// Connections of clients that showed a certificate of our CA, for
/// `tonic::transport::Server::serve_with_incoming`.
///
/// A handshake takes no turn of the accept loop: slow and silent clients delay
/// nobody. A client that fails its handshake is logged and dropped; the stream
/// itself never fails and never ends.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    live: Live,
    handshakes: JoinSet<Option<Connection>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Accepts on this listener, with the credentials in force at each
    /// handshake.
    pub fn new(listener: TcpListener, live: Live) -> Self {
        Self { listener, live, handshakes: JoinSet::new(), pause: None }
    }

    fn start_handshake(&mut self, stream: TcpStream, address: SocketAddr) {
        let acceptor = TlsAcceptor::from(self.live.current().server_config());
        self.handshakes.spawn(async move {
            socket::prepare(&stream);
            let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::info!(%address, error = %causes(&error), "a client failed its TLS handshake");
                    return None;
                }
                Err(_) => {
                    tracing::info!(%address, "a client did not finish its TLS handshake in time");
                    return None;
                }
            };
            // The verifier let only certificates pass that name an identity.
            let certificate = stream.get_ref().1.peer_certificates()?.first()?;
            let identity = Identity::of_certificate(certificate).ok()?;
            Some(Connection { peer: Peer { identity, address }, stream })
        });
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(pause) = &mut this.pause
            && pause.as_mut().poll(cx).is_ready()
        {
            this.pause = None;
        }
        while this.pause.is_none() && this.handshakes.len() < MOST_HANDSHAKES {
            match this.listener.poll_accept(cx) {
                Poll::Ready(Ok((stream, address))) => this.start_handshake(stream, address),
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    let mut pause = Box::pin(sleep(socket::ACCEPT_PAUSE));
                    // A fresh sleep must be polled once to wake this task.
                    if pause.as_mut().poll(cx).is_pending() {
                        this.pause = Some(pause);
                    }
                }
                Poll::Pending => break,
            }
        }
        loop {
            match this.handshakes.poll_join_next(cx) {
                Poll::Ready(Some(Ok(Some(connection)))) => return Poll::Ready(Some(Ok(connection))),
                // Failed or panicked: that client is gone. A free place may let
                // a waiting client in, so look at the listener again.
                Poll::Ready(Some(_)) => cx.waker().wake_by_ref(),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// One client's connection. Requests on it carry the [`Peer`] among their
/// extensions.
#[derive(Debug)]
pub struct Connection {
    peer: Peer,
    stream: TlsStream<TcpStream>,
}

impl Connection {
    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
