//! The body of a request, whole and paid for.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::StatusCode;

use super::{
    MAX_BODY,
    error::ApiError,
    parse::{Parsed, weight},
};
use crate::gateway::{
    forward::Forwarder,
    intake::{self, IntakeError},
    memory::Held,
};

/// A body, and the memory that it takes.
pub(super) struct Whole {
    bytes: Bytes,
    held: Held,
}

impl FromRequest<Arc<Forwarder>> for Whole {
    type Rejection = ApiError;

    async fn from_request(request: Request, forwarder: &Arc<Forwarder>) -> Result<Self, ApiError> {
        let (bytes, held) = intake::read(request.into_body(), MAX_BODY, &forwarder.memory).await?;
        Ok(Self { bytes, held })
    }
}

impl Whole {
    /// Reads it. What that takes is held as long as what was read needs it.
    pub(super) fn parse(
        self,
        parse: impl FnOnce(&[u8]) -> Result<Parsed, ApiError>,
    ) -> Result<(Parsed, Held), ApiError> {
        let Self { bytes, mut held } = self;
        held.grow(weight(&bytes))?;
        Ok((parse(&bytes)?, held))
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        let said = error.to_string();
        match error {
            IntakeError::TooLarge { .. } => Self::bad(
                StatusCode::PAYLOAD_TOO_LARGE,
                Some("request_too_large"),
                None,
                format!("{said}: send a shorter prompt or fewer messages"),
            ),
            IntakeError::Slow => Self::bad(StatusCode::REQUEST_TIMEOUT, None, None, said),
            IntakeError::Broken(_) => Self::bad(StatusCode::BAD_REQUEST, None, None, said),
            IntakeError::Refused(refusal) => refusal.into(),
        }
    }
}
