//! What the controller checks beyond the API server's own rules: things that
//! take parsing, and everything that a CRD of another version let pass.

mod model;
mod worker;

use std::fmt;

pub use model::{served_model, without_effect};
pub use worker::{worker, worker_without_effect};

/// What is wrong with a field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, such as `spec.source.uri`.
    pub field: String,
    /// The value, as it was written.
    pub value: String,
    /// What is allowed and how to put it right.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.field, self.value, self.message)
    }
}

/// Collects errors under field paths.
#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: impl Into<String>, value: impl ToString, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), value: value.to_string(), message: message.into() });
    }

    fn check(&mut self, holds: bool, field: &str, value: impl ToString, message: &str) {
        if !holds {
            self.add(field, value, message);
        }
    }
}

/// Whether a text is a DNS label, as names of namespaces are.
fn is_dns_label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && edge(text.as_bytes().first())
        && edge(text.as_bytes().last())
}

/// Whether a text is a DNS subdomain, as most names in Kubernetes are.
fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}
