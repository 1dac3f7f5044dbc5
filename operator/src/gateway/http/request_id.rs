//! Gives each request an id that client and log share.

use axum::{extract::Request, middleware::Next, response::Response};
use http::HeaderValue;
use tracing::Instrument as _;
use uuid::Uuid;

const HEADER: &str = "x-request-id";
/// The longest id that is taken over from a client.
const MAX_LENGTH: usize = 128;

/// Takes the client's `x-request-id` over if it is a plain word, else makes one, and answers
/// with it.
pub(super) async fn attach(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(HEADER)
        .filter(|id| {
            id.len() <= MAX_LENGTH && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
        })
        .cloned()
        .unwrap_or_else(new);
    let span =
        tracing::info_span!("request", id = id.to_str().unwrap_or_default(), path = request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(HEADER, id);
    response
}

fn new() -> HeaderValue {
    HeaderValue::from_str(&Uuid::new_v4().to_string()).unwrap_or_else(|_| HeaderValue::from_static("none"))
}
