//! How tokens are chosen, with OpenAI's names and those that vLLM and llama.cpp added.

use hearth_proto::inference::v1::{DryOptions, LogitBias, SamplingOptions, SequenceBreakers};
use serde_json::Value;

use super::fields::{Fields, show, wrong_type};
use crate::gateway::http::error::ApiError;

/// Reads everything but the log probabilities, which both endpoints ask for in their own way.
pub(super) fn sampling(fields: &Fields, logprobs: Option<u32>) -> Result<SamplingOptions, ApiError> {
    // Negative seeds are as good as others: only sameness counts.
    let seed = fields.typed("seed", "a whole number of 64 bits", |value| {
        value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned))
    })?;
    let repetition_penalty = match fields.float("repetition_penalty")? {
        Some(penalty) => Some(penalty),
        None => fields.float("repeat_penalty")?,
    };
    Ok(SamplingOptions {
        temperature: fields.float("temperature")?,
        top_k: all_or(fields, "top_k", "a whole number, -1 or 0 for all tokens", &[-1, 0])?,
        top_p: fields.float("top_p")?,
        min_p: fields.float("min_p")?,
        seed,
        typical_p: fields.float("typical_p")?,
        repetition_penalty,
        presence_penalty: fields.float("presence_penalty")?,
        frequency_penalty: fields.float("frequency_penalty")?,
        penalty_window: window(fields, "repeat_last_n")?,
        dry: dry(fields)?,
        logit_bias: logit_bias(fields)?,
        logprobs,
    })
}

fn dry(fields: &Fields) -> Result<Option<DryOptions>, ApiError> {
    let name = "dry_sequence_breakers";
    let sequence_breakers = match fields.get(name) {
        None => None,
        Some(Value::Array(values)) => Some(SequenceBreakers { texts: texts(name, values)? }),
        Some(other) => return Err(wrong_type(name, "an array of strings", other)),
    };
    let options = DryOptions {
        multiplier: fields.float("dry_multiplier")?,
        base: fields.float("dry_base")?,
        allowed_length: fields.count("dry_allowed_length")?,
        window: window(fields, "dry_penalty_last_n")?,
        sequence_breakers,
    };
    Ok((options != DryOptions::default()).then_some(options))
}

/// The strings of an array.
pub(super) fn texts(name: &str, values: &[Value]) -> Result<Vec<String>, ApiError> {
    let text = |(i, value): (usize, &Value)| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(wrong_type(&format!("{name}[{i}]"), "a string", other)),
    };
    values.iter().enumerate().map(text).collect()
}

/// A number of tokens to look back on. That 0 turns a penalty off is left to the penalty itself.
fn window(fields: &Fields, name: &str) -> Result<Option<u32>, ApiError> {
    match all_or(fields, name, "a whole number over 0, or -1 for all tokens", &[-1])? {
        Some(0) if fields.get(name).and_then(Value::as_i64) == Some(0) => {
            Err(ApiError::invalid(name, format!("{name} is 0: leave the penalty out instead")))
        }
        window => Ok(window),
    }
}

/// A number, where some stand for all and come to 0.
fn all_or(fields: &Fields, name: &str, expected: &str, all: &[i64]) -> Result<Option<u32>, ApiError> {
    fields.typed(name, expected, |value| {
        if value.as_i64().is_some_and(|value| all.contains(&value)) {
            return Some(0);
        }
        value.as_u64().and_then(|value| u32::try_from(value).ok())
    })
}

/// An object with a bias for each token id.
fn logit_bias(fields: &Fields) -> Result<Vec<LogitBias>, ApiError> {
    let biases = match fields.get("logit_bias") {
        None => return Ok(vec![]),
        Some(Value::Object(biases)) => biases,
        Some(other) => {
            return Err(wrong_type("logit_bias", "an object with a number for each token id", other));
        }
    };
    biases
        .iter()
        .map(|(key, value)| {
            let token_id = key.parse().map_err(|_| {
                let said = format!("logit_bias: {} is no token id", show(&Value::from(key.as_str())));
                ApiError::invalid("logit_bias", said)
            })?;
            #[expect(clippy::cast_possible_truncation, reason = "a bias has no use for more digits")]
            let bias = value
                .as_f64()
                .map(|bias| bias as f32)
                .ok_or_else(|| wrong_type(&format!("logit_bias.{token_id}"), "a number", value))?;
            Ok(LogitBias { token_id, bias })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<SamplingOptions, ApiError> {
        sampling(&Fields::parse(body.to_string().as_bytes()).unwrap(), None)
    }

    #[test]
    fn every_name_is_read() {
        let options = read(&json!({
            "temperature": 0.5, "top_k": -1, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "seed": -1,
            "repetition_penalty": 1.1, "repeat_penalty": 5, "presence_penalty": -1, "frequency_penalty": 0.25,
            "repeat_last_n": 64, "logit_bias": {"7": -100},
            "dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": 3, "dry_penalty_last_n": -1,
            "dry_sequence_breakers": ["\n"],
        }));
        let dry = DryOptions {
            multiplier: Some(0.8),
            base: Some(1.5),
            allowed_length: Some(3),
            window: Some(0),
            sequence_breakers: Some(SequenceBreakers { texts: vec!["\n".into()] }),
        };
        let expected = SamplingOptions {
            temperature: Some(0.5),
            top_k: Some(0),
            top_p: Some(0.9),
            min_p: Some(0.1),
            seed: Some(u64::MAX),
            typical_p: Some(0.8),
            repetition_penalty: Some(1.1),
            presence_penalty: Some(-1.0),
            frequency_penalty: Some(0.25),
            penalty_window: Some(64),
            dry: Some(dry),
            logit_bias: vec![LogitBias { token_id: 7, bias: -100.0 }],
            logprobs: None,
        };
        assert_eq!(options.unwrap(), expected);
        assert_eq!(read(&json!({})).unwrap(), SamplingOptions::default());
        assert_eq!(read(&json!({"repeat_penalty": 1.5})).unwrap().repetition_penalty, Some(1.5));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param) in [
            (json!({"repeat_last_n": 0}), "repeat_last_n"),
            (json!({"repeat_last_n": -2}), "repeat_last_n"),
            (json!({"logit_bias": [1]}), "logit_bias"),
            (json!({"logit_bias": {"word": 1}}), "logit_bias"),
            (json!({"logit_bias": {"3": "much"}}), "logit_bias.3"),
            (json!({"dry_sequence_breakers": "x"}), "dry_sequence_breakers"),
            (json!({"dry_sequence_breakers": ["a", 1]}), "dry_sequence_breakers[1]"),
            (json!({"typical_p": "x"}), "typical_p"),
        ] {
            assert_eq!(read(&body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
