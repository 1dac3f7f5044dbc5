//! Takes the body of a request in: whole, within bounds of size, memory and time.

use std::{pin::pin, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::{
    memory::{Held, Memory},
    refusal::Refusal,
};

/// A request that is not whole by then is given up: 4 MiB over half a megabit a second.
pub const READ_WITHIN: Duration = Duration::from_secs(60);

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// It is longer than it may be.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The most that is taken.
        limit: usize,
    },
    /// The client takes too long to send it.
    #[error("the request did not come whole within {} s", READ_WITHIN.as_secs())]
    Slow,
    /// The client broke off.
    #[error("the request broke off")]
    Broken(#[source] axum::Error),
    /// There is no memory for it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Reads a body of at most `limit` bytes, and holds as many.
///
/// # Errors
/// When it is too long, too slow or too much.
pub async fn read(body: Body, limit: usize, memory: &Memory) -> Result<(Bytes, Held), IntakeError> {
    timeout(READ_WITHIN, collect(body, limit, memory)).await.unwrap_or(Err(IntakeError::Slow))
}

async fn collect(body: Body, limit: usize, memory: &Memory) -> Result<(Bytes, Held), IntakeError> {
    let mut body = pin!(body);
    let mut held = memory.begin()?;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(IntakeError::Broken)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(IntakeError::TooLarge { limit });
        }
        held.grow(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok((whole.freeze(), held))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt as _, stream};

    use super::*;

    fn body(pieces: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(pieces).map(|piece| Ok::<_, Infallible>(*piece)))
    }

    #[tokio::test]
    async fn a_body_is_held_while_it_comes() {
        let memory = Memory::new(8);
        let (bytes, held) = read(body(&["abc", "def"]), 6, &memory).await.unwrap();
        assert_eq!((&bytes[..], memory.used()), (&b"abcdef"[..], 6));
        let refused = read(body(&["ab", "c"]), 6, &memory).await;
        assert!(matches!(refused, Err(IntakeError::Refused(Refusal::NoMemory { .. }))), "{refused:?}");
        assert_eq!(memory.used(), 6, "what had come is given back");
        drop(held);
        let long = read(body(&["abc", "defg"]), 6, &memory).await;
        assert!(matches!(long, Err(IntakeError::TooLarge { limit: 6 })), "{long:?}");
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let memory = Memory::new(8);
        let slow = stream::once(async { Ok::<_, Infallible>("abc") }).chain(stream::pending());
        let given_up = read(Body::from_stream(slow), 6, &memory).await;
        assert!(matches!(given_up, Err(IntakeError::Slow)), "{given_up:?}");
        assert_eq!(memory.used(), 0);
    }
}
