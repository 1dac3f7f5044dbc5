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
/// What carries prompts. The rest is small, or a stream in both directions.
const METHODS: [&str; 2] =
    ["/hearth.inference.v1.InferenceService/Generate", "/hearth.inference.v1.InferenceService/Tokenize"];

/// Reads the whole of a request that may be long, and passes it on with the memory that it takes
/// as a [`Parcel`] among its extensions.
pub(super) async fn take(State(forwarder): State<Arc<Forwarder>>, request: Request, next: Next) -> Response {
    if !METHODS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let taken = intake::read(body, MAX_MESSAGE + FRAME, &forwarder.memory).await;
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
        Err(error) => status(error).into_http(),
    }
}

fn status(error: IntakeError) -> Status {
    let said = error.to_string();
    match error {
        IntakeError::TooLarge { .. } => unreadable::too_large(MAX_MESSAGE),
        IntakeError::Slow => Status::deadline_exceeded(said),
        IntakeError::Broken(_) => Status::cancelled(said),
        IntakeError::Refused(refusal) => refusal.into(),
    }
}
