//! What is wrong with a field of a request.

use thiserror::Error;

/// A field that holds what it may not.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{field}` is {value}: {message}")]
pub struct Wrong {
    /// The field, as the wire contract names it.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What may be given.
    pub message: String,
}

impl Wrong {
    pub(crate) fn new(field: &'static str, value: impl ToString, message: &str) -> Self {
        Self { field, value: value.to_string(), message: message.into() }
    }
}
