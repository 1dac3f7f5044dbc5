//! Takes requests in before tonic decodes them, so that it decodes only what there is memory for.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use hearth_proto::unreadable;
use tonic::Status;

use super::{MAX_MESSAGE, weight::weight};
use crate::gateway::{
    forward::Forwarder,
    intake::{self, IntakeError},
    memory::Parcel,
};

/// Before each message: whether it is compressed, and its length.
const FRAME: usize = 5;
/// What carries prompts.
const LONG: [&str; 2] =
    ["/hearth.inference.v1.InferenceService/Generate", "/hearth.inference.v1.InferenceService/Tokenize"];
/// Streams in both directions: their messages come one by one, and are small.
const STREAMS: &str = "/grpc.reflection.";
/// A message of every other method, in bytes.
pub(super) const SMALL: usize = 16 << 10;

/// Reads the whole of a request, within a time and as far as there is memory, and passes it on with
/// what it takes as a [`Parcel`] among its extensions.
pub(super) async fn take(State(forwarder): State<Arc<Forwarder>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with(STREAMS) {
        return next.run(request).await;
    }
    let limit = if LONG.contains(&request.uri().path()) { MAX_MESSAGE } else { SMALL };
    let (parts, body) = request.into_parts();
    let taken = intake::read(body, limit + FRAME, &forwarder.memory).await;
    let taken = taken.and_then(|(bytes, mut held)| {
        held.grow(weight(bytes.get(FRAME..).unwrap_or_default()))?;
        Ok((bytes, held))
    });
    match taken {
        Ok((bytes, held)) => {
            let mut request = Request::from_parts(parts, Body::from(bytes));
            request.extensions_mut().insert(Parcel::of(held));
            next.run(request).await
        }
        Err(error) => status(error, limit).into_http(),
    }
}

fn status(error: IntakeError, limit: usize) -> Status {
    let said = error.to_string();
    match error {
        IntakeError::TooLarge { .. } => unreadable::too_large(limit),
        IntakeError::Slow => Status::deadline_exceeded(said),
        IntakeError::Broken(_) => Status::cancelled(said),
        IntakeError::Refused(refusal) => refusal.into(),
    }
}
