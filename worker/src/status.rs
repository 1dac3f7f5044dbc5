//! gRPC statuses with the details that clients act on.

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::spec::Failure;

/// The domain of the reasons in `ErrorInfo`.
const DOMAIN: &str = "hearth.dev";
const PERMANENT: &str = "permanent";

/// `INVALID_ARGUMENT` with a `BadRequest` for one field.
pub fn invalid(field: &str, message: impl Into<String>) -> Status {
    invalid_fields(vec![FieldViolation::new(field, message.into())])
}

/// `INVALID_ARGUMENT` with a `BadRequest` for all fields that are wrong.
pub fn invalid_fields(violations: Vec<FieldViolation>) -> Status {
    let texts: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    let details = ErrorDetails::with_bad_request(violations);
    Status::with_error_details(Code::InvalidArgument, texts.join("; "), details)
}

/// `NOT_FOUND` with a `ResourceInfo` for a model.
pub fn unknown_model(name: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let details = ErrorDetails::with_resource_info("hearth.dev/model", name, "", message.clone());
    Status::with_error_details(Code::NotFound, message, details)
}

/// `UNAVAILABLE` with a `RetryInfo`.
pub fn unavailable(message: impl Into<String>, retry: Duration) -> Status {
    retry_later(Code::Unavailable, message.into(), retry)
}

/// `RESOURCE_EXHAUSTED` with a `RetryInfo`, and the same as pushback for
/// clients' retry policies.
pub fn full(message: impl Into<String>, retry: Duration) -> Status {
    let mut status = retry_later(Code::ResourceExhausted, message.into(), retry);
    status.metadata_mut().insert("grpc-retry-pushback-ms", MetadataValue::from(retry.as_millis() as u64));
    status
}

fn retry_later(code: Code, message: String, retry: Duration) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_retry_info(Some(retry)))
}

/// A status that carries a [`Failure`], whole, between our own processes.
pub fn from_failure(code: Code, failure: &Failure) -> Status {
    let permanent = (PERMANENT.to_owned(), failure.permanent.to_string());
    let details = ErrorDetails::with_error_info(&failure.reason, DOMAIN, [permanent]);
    Status::with_error_details(code, &failure.message, details)
}

/// The [`Failure`] in a status, if it carries one.
pub fn to_failure(status: &Status) -> Option<Failure> {
    let info = status.get_details_error_info().filter(|i| i.domain == DOMAIN)?;
    Some(Failure {
        reason: info.reason,
        message: status.message().to_owned(),
        permanent: info.metadata.get(PERMANENT).is_some_and(|v| v == "true"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_wire() {
        for failure in [Failure::permanent("BadModel", "no tensor"), Failure::transient("Oom", "too big")] {
            assert_eq!(to_failure(&from_failure(Code::Internal, &failure)), Some(failure));
        }
        assert_eq!(to_failure(&Status::internal("x")), None);
    }

    #[test]
    fn details() {
        let status = invalid("sampling.top_p", "2 is over 1");
        assert_eq!(status.message(), "sampling.top_p: 2 is over 1");
        let bad = status.get_details_bad_request().unwrap();
        assert_eq!(bad.field_violations[0].field, "sampling.top_p");
        let status = full("full", Duration::from_millis(1500));
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1500");
    }
}
