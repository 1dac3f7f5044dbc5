//! Fields that chat and text completions share.

use hearth_proto::inference::v1::{SamplingOptions, StopOptions};
use serde_json::Value;

use super::fields::{Fields, show, wrong_type};
use crate::gateway::http::error::ApiError;

pub(super) fn model(fields: &Fields) -> Result<String, ApiError> {
    match fields.string("model")? {
        Some(model) if !model.is_empty() => Ok(model.to_owned()),
        _ => Err(ApiError::invalid(
            "model",
            "model is missing: name a served model (GET /v1/models lists them)",
        )),
    }
}

/// Sampling, with OpenAI's names and three that others added: `top_k` (-1 or 0 keep all),
/// `min_p` and `ignore_eos`.
pub(super) fn sampling(fields: &Fields) -> Result<SamplingOptions, ApiError> {
    let top_k = fields.typed("top_k", "a whole number, -1 or 0 for all tokens", |value| {
        if value.as_i64() == Some(-1) {
            return Some(0);
        }
        value.as_u64().and_then(|value| u32::try_from(value).ok())
    })?;
    // Negative seeds are as good as others: only sameness counts.
    let seed = fields.typed("seed", "a whole number of 64 bits", |value| {
        value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned))
    })?;
    Ok(SamplingOptions {
        temperature: fields.float("temperature")?,
        top_k,
        top_p: fields.float("top_p")?,
        min_p: fields.float("min_p")?,
        seed,
    })
}

pub(super) fn stop(fields: &Fields, max_tokens: Option<u32>) -> Result<StopOptions, ApiError> {
    let sequences = match fields.get("stop") {
        None => vec![],
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several
            .iter()
            .enumerate()
            .map(|(i, value)| match value {
                Value::String(sequence) => Ok(sequence.clone()),
                other => Err(wrong_type(&format!("stop[{i}]"), "a string", other)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong_type("stop", "a string or an array of strings", other)),
    };
    Ok(StopOptions { max_tokens, sequences, ignore_eos: fields.boolean("ignore_eos")? })
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

const UNSUPPORTED: [Unsupported; 7] = [
    ("n", |value| value.as_u64() == Some(1)),
    ("best_of", |value| value.as_u64() == Some(1)),
    ("frequency_penalty", is_zero),
    ("presence_penalty", is_zero),
    ("repetition_penalty", |value| value.as_f64() == Some(1.0)),
    ("logit_bias", is_empty),
    ("response_format", |value| value.get("type").and_then(Value::as_str) == Some("text")),
];

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

pub(super) fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
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
