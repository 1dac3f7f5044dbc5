//! Reads typed fields out of a JSON object, with errors that name field and value.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::gateway::http::error::ApiError;

/// The longest part of a wrong value that an error repeats, in characters.
const SHOWN: usize = 64;

/// The top level of a request. A field that is `null` counts as absent.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let wrong = |message: String| ApiError::bad(StatusCode::BAD_REQUEST, None, None, message);
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(other) => Err(wrong(format!("the body must be a JSON object, not {}", show(&other)))),
            Err(error) => Err(wrong(format!("the body is not valid JSON: {error}"))),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&str>, ApiError> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A number, as the single precision that sampling uses.
    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, ApiError> {
        #[expect(clippy::cast_possible_truncation, reason = "a temperature has no use for more digits")]
        self.typed(name, "a number", |value| value.as_f64().map(|value| value as f32))
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u32>, ApiError> {
        self.typed(name, "a whole number from 0 to 4294967295", |value| {
            value.as_u64().and_then(|value| u32::try_from(value).ok())
        })
    }

    pub(super) fn typed<'a, T>(
        &'a self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        self.get(name).map(|value| read(value).ok_or_else(|| wrong_type(name, expected, value))).transpose()
    }
}

/// The error for a value of the wrong type.
pub(super) fn wrong_type(path: &str, expected: &str, value: &Value) -> ApiError {
    ApiError::invalid(path, format!("{path} must be {expected}, not {}", show(value)))
}

/// A value, short enough for an error message.
pub(super) fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_null_is_absent() {
        let fields = Fields::parse(br#"{"a": "text", "b": null, "c": 1.5, "d": 3, "e": true}"#).unwrap();
        assert_eq!(fields.string("a").unwrap(), Some("text"));
        assert_eq!(fields.string("b").unwrap(), None);
        assert_eq!(fields.float("c").unwrap(), Some(1.5));
        assert_eq!(fields.count("d").unwrap(), Some(3));
        assert_eq!(fields.boolean("e").unwrap(), Some(true));
        let error = fields.count("c").unwrap_err();
        assert_eq!(error.message, "c must be a whole number from 0 to 4294967295, not 1.5");
        assert_eq!(error.param.as_deref(), Some("c"));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let fields = Fields::parse(format!(r#"{{"a": ["{}"]}}"#, "é".repeat(200)).as_bytes()).unwrap();
        let error = fields.string("a").unwrap_err();
        assert!(error.message.ends_with("é…"), "{}", error.message);
    }

    #[test]
    fn what_is_no_object() {
        for body in [&b""[..], b"[1]", b"{", b"\"\xff\"", b"nul"] {
            let error = Fields::parse(body).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
        }
    }
}
