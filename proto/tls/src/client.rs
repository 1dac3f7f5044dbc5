//! The client's side: a channel to one known process.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::ALPN;
use crate::credentials::CredentialsError;
use crate::identity::Identity;
use crate::live::Live;
use crate::verify::WrongIdentity;

/// How a channel connects and how it notices that the other end is gone.
#[derive(Clone, Debug)]
pub struct DialOptions {
    /// For name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Ping an idle or busy connection this often; `None` never pings.
    pub keepalive_interval: Option<Duration>,
    /// A ping that is not answered by then ends the connection, and with it
    /// every call on it.
    pub keepalive_timeout: Duration,
}

impl Default for DialOptions {
    /// 3 s to connect; a ping every 2 s, answered within 6 s: a peer that dies
    /// without a word is noticed within 8 s.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            keepalive_interval: Some(Duration::from_secs(2)),
            keepalive_timeout: Duration::from_secs(6),
        }
    }
}

/// Why a connection could not be made. Found among the sources of the
/// channel's errors.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address does not resolve, or nothing listens there.
    #[error("cannot connect to {address}")]
    Connect {
        /// As it was given to [`dial`].
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something listens that is not the expected process, or it refuses us.
    #[error("TLS with {expected} at {address} failed")]
    Handshake {
        /// As it was given to [`dial`].
        address: String,
        /// Who should be there.
        expected: Identity,
        /// Why TLS refused.
        source: io::Error,
    },
    /// Another of our processes listens there: the address was given anew.
    #[error("another process is at {address}")]
    Identity {
        /// As it was given to [`dial`].
        address: String,
        /// Who should be there, and who is.
        source: WrongIdentity,
    },
    /// Our own credentials cannot be used.
    #[error("unusable credentials")]
    Credentials(#[from] CredentialsError),
    /// The server agreed to TLS but not to HTTP/2.
    #[error("{0} does not speak HTTP/2")]
    Protocol(String),
    /// Nothing happened within the connect timeout.
    #[error("{0} did not answer in time")]
    Timeout(String),
}

/// A channel to `expected` at `address` (`host:port`).
///
/// Connects when the first call is made, and again, with the credentials then
/// in force, when a call finds the connection gone; a call during which the
/// connection cannot be made fails with `UNAVAILABLE` and the [`DialError`] in
/// its sources. Must be called on a Tokio runtime.
pub fn dial(address: impl Into<String>, expected: Identity, live: &Live, options: &DialOptions) -> Channel {
    let address = address.into();
    // The scheme says "http" because TLS is the connector's business, not
    // tonic's. The host is the name in the certificate, not the address: a
    // Pod's address says nothing to whoever reads a log.
    let uri = Uri::builder()
        .scheme("http")
        .authority(expected.dns_name())
        .path_and_query("/")
        .build()
        .expect("an identity's DNS name is a valid authority");
    let mut endpoint = Endpoint::from(uri).keep_alive_timeout(options.keepalive_timeout);
    if let Some(interval) = options.keepalive_interval {
        endpoint = endpoint.http2_keep_alive_interval(interval).keep_alive_while_idle(true);
    }
    let target =
        Arc::new(Target { address, expected, live: live.clone(), patience: options.connect_timeout });
    endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
        let target = target.clone();
        async move { target.connect().await.map(TokioIo::new) }
    }))
}

struct Target {
    address: String,
    expected: Identity,
    live: Live,
    patience: Duration,
}

impl Target {
    async fn connect(&self) -> Result<TlsStream<TcpStream>, DialError> {
        timeout(self.patience, self.handshake())
            .await
            .unwrap_or_else(|_| Err(DialError::Timeout(self.address.clone())))
    }

    async fn handshake(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let config = self.live.current().client_config(&self.expected)?;
        let tcp = TcpStream::connect(&self.address)
            .await
            .map_err(|source| DialError::Connect { address: self.address.clone(), source })?;
        let _ = tcp.set_nodelay(true);
        let name: ServerName<'static> = self.expected.server_name();
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|e| self.refused(e))?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(DialError::Protocol(self.address.clone()));
        }
        Ok(stream)
    }

    fn refused(&self, source: io::Error) -> DialError {
        let address = self.address.clone();
        match WrongIdentity::within(&source) {
            Some(source) => DialError::Identity { address, source },
            None => DialError::Handshake { address, expected: self.expected.clone(), source },
        }
    }
}

/// An error's sources in one line, outermost first; its own text if it has none.
pub(crate) fn causes(error: &dyn Error) -> String {
    let texts: Vec<_> =
        std::iter::successors(error.source(), |&e| e.source()).map(ToString::to_string).collect();
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}
