//! Errors as OpenAI's API shapes them.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::gateway::refusal::{Refusal, first_violation, retry_after};

/// An error of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status of the response.
    pub status: StatusCode,
    /// OpenAI's `type`.
    pub kind: &'static str,
    /// OpenAI's `code`.
    pub code: Option<&'static str>,
    /// The field of the request that is at fault.
    pub param: Option<String>,
    /// What is wrong with which value, and what to do.
    pub message: String,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
}

const INVALID: &str = "invalid_request_error";

impl ApiError {
    /// A field of the request holds what it may not.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad(StatusCode::BAD_REQUEST, None, Some(param.into()), message)
    }

    /// A field asks for something that would change the answer and that is not there.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad(StatusCode::BAD_REQUEST, Some("unsupported_parameter"), Some(param.into()), message)
    }

    /// The request as a whole is wrong.
    pub fn bad(
        status: StatusCode,
        code: Option<&'static str>,
        param: Option<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, kind: INVALID, code, param, message: message.into(), retry_after: None }
    }

    /// The `{"error": …}` object.
    pub fn body(&self) -> Value {
        let Self { status: _, kind, code, param, message, retry_after: _ } = self;
        json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let (http, kind, code) = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => (StatusCode::BAD_REQUEST, INVALID, None),
            Code::NotFound => (StatusCode::NOT_FOUND, INVALID, Some("model_not_found")),
            Code::ResourceExhausted => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("rate_limit_exceeded"))
            }
            Code::FailedPrecondition => {
                (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("model_not_servable"))
            }
            Code::Unavailable | Code::Aborted | Code::Cancelled => {
                (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("unavailable"))
            }
            Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "server_error", Some("timeout")),
            Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "server_error", None),
            Code::Ok
            | Code::Unknown
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", None),
        };
        let (param, message) = match (http, first_violation(&status)) {
            (StatusCode::BAD_REQUEST, Some(violation)) => {
                let param = openai_field(&violation.field);
                let message = format!("{param}: {}", violation.description);
                (Some(param), message)
            }
            (StatusCode::NOT_FOUND, _) => (Some("model".to_owned()), status.message().to_owned()),
            _ => (None, status.message().to_owned()),
        };
        let retry_after = retry_after(&status).or(match status.code() {
            Code::Unavailable | Code::Aborted | Code::ResourceExhausted => Some(Duration::from_secs(1)),
            _ => None,
        });
        Self { status: http, kind, code, param, message, retry_after }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Status::from(refusal).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        match self.retry_after {
            Some(after) => {
                // Whole seconds, rounded up: too early is in vain.
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                headers.insert(RETRY_AFTER, seconds.into());
            }
            // OpenAI's clients repeat each 5xx by themselves unless they are told not to.
            None if self.status.is_server_error() => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
            None => {}
        }
        response
    }
}

/// Fields of `hearth.inference.v1` that OpenAI, or who added them, calls something else.
const RENAMED: [(&str, &str); 9] = [
    ("sampling.penalty_window", "repeat_last_n"),
    ("sampling.dry.window", "dry_penalty_last_n"),
    ("sampling.dry.", "dry_"),
    ("sampling.logprobs", "top_logprobs"),
    ("constraint.json_schema", "response_format"),
    ("constraint.json_object", "response_format"),
    ("constraint.regex", "guided_regex"),
    ("constraint.lark", "guided_grammar"),
    ("constraint.choice", "guided_choice"),
];

/// The field of an OpenAI request that became this field of `hearth.inference.v1`.
fn openai_field(field: &str) -> String {
    match field {
        "tokens.ids" => return "prompt".to_owned(),
        "input" => return "messages".to_owned(),
        _ => {}
    }
    for (ours, theirs) in RENAMED {
        if let Some(rest) = field.strip_prefix(ours) {
            return format!("{theirs}{rest}");
        }
    }
    if let Some(rest) = field.strip_prefix("stop.sequences") {
        return format!("stop{rest}");
    }
    ["chat.", "sampling.", "stop."]
        .iter()
        .find_map(|prefix| field.strip_prefix(prefix))
        .unwrap_or(field)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_shapes() {
        let error = ApiError::from(Refusal::UnknownModel { name: "x".into(), known: vec![] });
        assert_eq!(
            error.body(),
            json!({"error": {
                "message": "no model is served as \"x\"; there is no ServedModel yet",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }})
        );
        for (code, expected) in [
            (Code::InvalidArgument, 400),
            (Code::ResourceExhausted, 429),
            (Code::FailedPrecondition, 503),
            (Code::Unavailable, 503),
            (Code::DeadlineExceeded, 504),
            (Code::Internal, 500),
        ] {
            assert_eq!(ApiError::from(Status::new(code, "m")).status.as_u16(), expected, "{code:?}");
        }
    }

    #[test]
    fn whether_to_try_again_is_said() {
        let header = |status: Status, name: &str| {
            let response = ApiError::from(status).into_response();
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let full = || Status::from(Refusal::QueueFull { name: "m".into(), waiting: 1 });
        assert_eq!(header(full(), "retry-after").as_deref(), Some("2"));
        assert_eq!(header(full(), "x-should-retry"), None);
        let rejected = || Status::failed_precondition("spec");
        assert_eq!(header(rejected(), "retry-after"), None);
        assert_eq!(header(rejected(), "x-should-retry").as_deref(), Some("false"));
    }

    #[test]
    fn fields_keep_their_own_names() {
        for (ours, theirs) in [
            ("chat.messages[1].role", "messages[1].role"),
            ("sampling.temperature", "temperature"),
            ("stop.max_tokens", "max_tokens"),
            ("stop.sequences[0]", "stop[0]"),
            ("tokens.ids", "prompt"),
            ("prompt", "prompt"),
            ("sampling.dry.base", "dry_base"),
            ("sampling.penalty_window", "repeat_last_n"),
            ("constraint.json_schema", "response_format"),
        ] {
            assert_eq!(openai_field(ours), theirs);
        }
        let error = ApiError::from(Refusal::invalid("sampling.top_p", "2 is over 1"));
        assert_eq!((error.param.as_deref(), error.message.as_str()), (Some("top_p"), "top_p: 2 is over 1"));
    }
}
