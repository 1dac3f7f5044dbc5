//! Mutual TLS between Hearth's processes.
//!
//! Every process holds a certificate of the installation's own CA, and trusts
//! that CA and nothing else. The certificate names the process by a URI
//! ([`Identity`]); what a peer may ask for follows from its [`Role`].
//!
//! * [`Credentials`]: a certificate, its key and the trusted CA, parsed and
//!   checked once.
//! * [`Live`]: the credentials in force. They can be replaced while the process
//!   runs: handshakes that begin later use the new ones, connections that stand
//!   are left alone.
//! * [`Incoming`] and [`Guard`]: the server's side.
//! * [`dial`]: the client's side.
//! * [`plain`]: ports without TLS, with the same care for what strangers can take.
//!
//! Only TLS 1.3 and HTTP/2 are spoken, and sessions are never resumed: a
//! resumed session would carry the verdict on a certificate that may have been
//! replaced or have expired since.

mod client;
mod credentials;
mod identity;
mod incoming;
mod live;
mod metrics;
mod peer;
pub mod plain;
mod socket;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;

pub use client::{DialError, DialOptions, dial};
pub use credentials::{Credentials, CredentialsError};
pub use identity::{Identity, IdentityError, Role, WorkerName};
pub use incoming::{Connection, HANDSHAKE_TIMEOUT, Incoming};
pub use live::{CA_FILE, CERTIFICATE_FILE, KEY_FILE, Live, LiveError};
pub use peer::{Guard, Peer, peer, require};
pub use verify::WrongIdentity;

/// The one protocol spoken above TLS.
const ALPN: &[u8] = b"h2";
