//! Why the gateway itself turns a request down, and how gRPC clients are told.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// Names listed in the answer to an unknown one: enough for a homelab, short enough for a header.
const KNOWN_NAMES: usize = 16;

/// A field that holds what it may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in `hearth.inference.v1`, such as `sampling.temperature`.
    pub field: String,
    /// What is wrong with which value, and what to send instead.
    pub description: String,
}

/// Why a request is turned down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is wrong in itself.
    #[error("{}", say_violations(.0))]
    Invalid(Vec<Violation>),
    /// No ServedModel has this name.
    #[error("no model is served as {name:?}; {}", say_known(known))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The model's object must be changed first.
    #[error("model {name:?} cannot be served: {message}")]
    Rejected {
        /// The served name.
        name: String,
        /// The condition's message.
        message: String,
    },
    /// Nothing has room for the model.
    #[error("model {name:?} is on no machine: {message}")]
    Unplaceable {
        /// The served name.
        name: String,
        /// The condition's message.
        message: String,
    },
    /// As many requests wait for the model as may.
    #[error("{waiting} requests already wait for model {name:?}: try again later")]
    QueueFull {
        /// The served name.
        name: String,
        /// How many wait.
        waiting: usize,
    },
    /// The call's time is up.
    #[error("the deadline passed after {:.1} s: {doing}", .after.as_secs_f64())]
    DeadlinePassed {
        /// How long the call had taken.
        after: Duration,
        /// What it was doing.
        doing: String,
    },
    /// All requests together hold as much memory as they may.
    #[error("the requests at hand hold all of {total} bytes: try again later")]
    NoMemory {
        /// Bytes that they may hold.
        total: u32,
    },
    /// The request alone takes more than all together may.
    #[error(
        "the request takes more than {total} bytes once it is read: send texts rather than many small values"
    )]
    TooMuchMemory {
        /// Bytes that all requests may hold.
        total: u32,
    },
    /// The client takes nothing of its answer, and others wait for its place.
    #[error("nothing of the answer was read for {} s, so it was ended: read it as it comes", .after.as_secs())]
    Unread {
        /// How long it was waited for.
        after: Duration,
    },
    /// The gateway has not seen the cluster yet.
    #[error("the gateway is starting: it has not read the models of the cluster yet")]
    Starting,
    /// The gateway is going away.
    #[error("the gateway is stopping: send the request again")]
    Stopping,
    /// Worker after worker failed under this request.
    #[error("{tries} workers failed while they began to answer; the last one: {last}")]
    Unlucky {
        /// How many took the request.
        tries: u32,
        /// What the last one said.
        last: String,
    },
}

impl Refusal {
    /// The refusal of a request with one wrong field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { field: field.into(), description: description.into() }])
    }

    /// When it makes sense to try again; absent if it does not.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Invalid(_)
            | Self::UnknownModel { .. }
            | Self::Rejected { .. }
            | Self::TooMuchMemory { .. }
            | Self::DeadlinePassed { .. }
            | Self::Unread { .. } => None,
            Self::Starting | Self::Stopping => Some(Duration::from_secs(1)),
            Self::QueueFull { .. } | Self::NoMemory { .. } | Self::Unlucky { .. } => {
                Some(Duration::from_secs(2))
            }
            // A person has to make room, so there is no hurry.
            Self::Unplaceable { .. } => Some(Duration::from_secs(30)),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::TooMuchMemory { .. } => Code::InvalidArgument,
            Self::UnknownModel { .. } => Code::NotFound,
            Self::Rejected { .. } => Code::FailedPrecondition,
            Self::Unplaceable { .. } | Self::Starting | Self::Stopping | Self::Unlucky { .. } => {
                Code::Unavailable
            }
            Self::QueueFull { .. } | Self::NoMemory { .. } => Code::ResourceExhausted,
            Self::DeadlinePassed { .. } => Code::DeadlineExceeded,
            Self::Unread { .. } => Code::Aborted,
        }
    }

    fn details(&self) -> Option<ErrorDetails> {
        match self {
            Self::Invalid(violations) => Some(ErrorDetails::with_bad_request(
                violations
                    .iter()
                    .map(|violation| FieldViolation::new(&violation.field, &violation.description))
                    .collect::<Vec<_>>(),
            )),
            Self::UnknownModel { name, .. } => {
                Some(ErrorDetails::with_resource_info("hearth.dev/ServedModel", name, "", self.to_string()))
            }
            Self::Rejected { name, message } => {
                Some(ErrorDetails::with_precondition_failure_violation("SERVED_MODEL", name, message))
            }
            _ => self.retry_after().map(|after| ErrorDetails::with_retry_info(Some(after))),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let mut status = match refusal.details() {
            Some(details) => Self::with_error_details(refusal.code(), message, details),
            None => Self::new(refusal.code(), message),
        };
        if let Some(after) = refusal.retry_after() {
            status.metadata_mut().insert("grpc-retry-pushback-ms", (after.as_millis() as u64).into());
        }
        status
    }
}

/// After how long a status asks to be tried again, whoever made it.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// The first field that a status complains about, whoever made it.
pub fn first_violation(status: &Status) -> Option<FieldViolation> {
    status.get_details_bad_request().and_then(|details| details.field_violations.into_iter().next())
}

fn say_violations(violations: &[Violation]) -> String {
    let parts: Vec<String> =
        violations.iter().map(|Violation { field, description }| format!("{field}: {description}")).collect();
    parts.join("; ")
}

fn say_known(known: &[String]) -> String {
    if known.is_empty() {
        return "there is no ServedModel yet".to_owned();
    }
    let more = known.len().saturating_sub(KNOWN_NAMES);
    let names = known.iter().take(KNOWN_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more == 0 { format!("there are: {names}") } else { format!("there are: {names} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_and_pushback() {
        let status = Status::from(Refusal::QueueFull { name: "chat".into(), waiting: 3 });
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(retry_after(&status), Some(Duration::from_secs(2)));
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "2000");

        let status = Status::from(Refusal::invalid("sampling.top_p", "2 is over 1"));
        assert_eq!(status.message(), "sampling.top_p: 2 is over 1");
        assert_eq!(first_violation(&status).unwrap().field, "sampling.top_p");
        assert_eq!(retry_after(&status), None);

        let status = Status::from(Refusal::UnknownModel { name: "x".into(), known: vec!["chat".into()] });
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, "x");
        assert_eq!(status.message(), "no model is served as \"x\"; there are: chat");
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let known: Vec<String> = (0..20).map(|i| format!("m{i}")).collect();
        let said = Refusal::UnknownModel { name: "x".into(), known }.to_string();
        assert!(said.ends_with("m15 and 4 more"), "{said}");
    }
}
