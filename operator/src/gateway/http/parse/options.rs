//! Fields that chat and text completions share.

use hearth_proto::inference::v1::{Shortcuts, StopOptions};
use serde_json::Value;

use super::{
    fields::{Fields, show, wrong_type},
    sampling::texts,
};
use crate::gateway::http::error::ApiError;

/// Choices that one request may ask for: each takes the place of a request.
const MAX_CHOICES: u32 = 16;

pub(super) fn model(fields: &Fields) -> Result<String, ApiError> {
    match fields.string("model")? {
        Some(model) if !model.is_empty() => Ok(model.to_owned()),
        _ => Err(ApiError::invalid(
            "model",
            "model is missing: name a served model (GET /v1/models lists them)",
        )),
    }
}

pub(super) fn stop(fields: &Fields, max_tokens: Option<u32>) -> Result<StopOptions, ApiError> {
    let sequences = match fields.get("stop") {
        None => vec![],
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => texts("stop", several)?,
        Some(other) => return Err(wrong_type("stop", "a string or an array of strings", other)),
    };
    let (ignore_eos, min_tokens) = (fields.boolean("ignore_eos")?, fields.count("min_tokens")?);
    Ok(StopOptions { max_tokens, sequences, ignore_eos, min_tokens })
}

/// Whose prompts may be found in this one's: an extension that other servers know by this name.
pub(super) fn shortcuts(fields: &Fields) -> Result<Option<Shortcuts>, ApiError> {
    let salt = fields.string("cache_salt")?;
    Ok(salt.map(|salt| Shortcuts { salt: salt.to_owned(), guesses: 0 }))
}

/// How many answers are asked for.
pub(super) fn choices(fields: &Fields) -> Result<u32, ApiError> {
    match fields.count("n")? {
        None => Ok(1),
        Some(n) if (1..=MAX_CHOICES).contains(&n) => Ok(n),
        Some(n) => Err(ApiError::invalid("n", format!("n is {n}: ask for 1 to {MAX_CHOICES} choices"))),
    }
}

/// `(stream, stream_options.include_usage)`
pub(super) fn streaming(fields: &Fields) -> Result<(bool, bool), ApiError> {
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let include_usage = match fields.get("stream_options") {
        None => false,
        Some(Value::Object(options)) => match options.get("include_usage") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(include)) => *include,
            Some(other) => return Err(wrong_type("stream_options.include_usage", "true or false", other)),
        },
        Some(other) => return Err(wrong_type("stream_options", "an object", other)),
    };
    Ok((stream, include_usage))
}

/// A field that is not supported, and the values of it that change nothing.
pub(super) type Unsupported = (&'static str, fn(&Value) -> bool);

const UNSUPPORTED: [Unsupported; 1] = [("best_of", |value| value.as_u64() == Some(1))];

/// Refuses what would change the answer and is not there: what neither endpoint has, and what
/// this one has not.
pub(super) fn refuse_unsupported(fields: &Fields, own: &[Unsupported]) -> Result<(), ApiError> {
    for (name, harmless) in UNSUPPORTED.iter().chain(own) {
        if let Some(value) = fields.get(name)
            && !harmless(value)
        {
            let said = format!("{name}: {} is not supported yet: leave it out", show(value));
            return Err(ApiError::unsupported(*name, said));
        }
    }
    Ok(())
}

/// An empty array, object or string.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}
