//! What all accepted sockets have in common.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// After an accept that failed for want of a resource, such as descriptors: trying at once
/// would spin.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A peer that says nothing for so long is asked by the kernel whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
#[cfg(target_os = "linux")]
const KEEPALIVE_TRIES: u32 = 3;
/// A peer that has acknowledged nothing of what was sent, or made no room for it, for so long
/// is gone.
#[cfg(target_os = "linux")]
const UNREAD: Duration = Duration::from_secs(60);

/// Sends at once, and notices peers that are gone without a word, or do not read.
pub(crate) fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    #[cfg(target_os = "linux")]
    let keepalive = keepalive.with_retries(KEEPALIVE_TRIES);
    let done = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    #[cfg(target_os = "linux")]
    let done = done.and_then(|()| socket.set_tcp_user_timeout(Some(UNREAD)));
    // The connection works without.
    if let Err(error) = done {
        tracing::debug!(%error, "cannot set an option of a socket");
    }
}
