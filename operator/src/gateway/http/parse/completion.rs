//! `POST /v1/completions`.

use hearth_proto::inference::v1::{GenerateRequest, TokenIds, generate_request::Input};
use serde_json::Value;

use super::{
    Parsed, Tools,
    constraint::constraint,
    fields::{Fields, wrong_type},
    options::{self, Unsupported},
    sampling::sampling,
};
use crate::gateway::http::error::ApiError;

/// OpenAI's default, which clients of this endpoint count on.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// Reads the body of a request for a text completion.
///
/// # Errors
/// Names the field that is wrong or not supported.
pub fn completion(body: &[u8]) -> Result<Parsed, ApiError> {
    let fields = Fields::parse(body)?;
    let model = options::model(&fields)?;
    options::refuse_unsupported(&fields, &UNSUPPORTED)?;
    let input = match fields.get("prompt") {
        None => return Err(ApiError::invalid("prompt", "prompt is missing: send a text")),
        Some(value) => prompt("prompt", value)?,
    };
    let max_tokens = fields.count("max_tokens")?.unwrap_or(DEFAULT_MAX_TOKENS);
    let (stream, include_usage) = options::streaming(&fields)?;
    let request = GenerateRequest {
        model,
        input: Some(input),
        sampling: Some(sampling(&fields, logprobs(&fields)?)?),
        stop: Some(options::stop(&fields, Some(max_tokens))?),
        constraint: constraint(&fields)?,
        shortcuts: options::shortcuts(&fields)?,
    };
    Ok(Parsed {
        request,
        choices: options::choices(&fields)?,
        tools: Tools::default(),
        stream,
        include_usage,
    })
}

const UNSUPPORTED: [Unsupported; 2] =
    [("suffix", options::is_empty), ("echo", |value| value == &Value::Bool(false))];

/// How many of the likeliest tokens to tell, beside the one that is there.
fn logprobs(fields: &Fields) -> Result<Option<u32>, ApiError> {
    match fields.get("logprobs") {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(_) => fields.count("logprobs"),
    }
}

/// A text, a list of token ids, or a list that holds one of these.
fn prompt(path: &str, value: &Value) -> Result<Input, ApiError> {
    match value {
        Value::String(text) => Ok(Input::Prompt(text.clone())),
        Value::Array(values) => match values.as_slice() {
            [one @ (Value::String(_) | Value::Array(_))] if path == "prompt" => prompt("prompt[0]", one),
            [Value::String(_) | Value::Array(_), ..] => {
                let said = format!("{path} holds {} prompts: send one a request", values.len());
                Err(ApiError::unsupported(path, said))
            }
            ids => Ok(Input::Tokens(TokenIds { ids: token_ids(path, ids)? })),
        },
        other => Err(wrong_type(path, "a string or an array of token ids", other)),
    }
}

fn token_ids(path: &str, values: &[Value]) -> Result<Vec<u32>, ApiError> {
    values
        .iter()
        .enumerate()
        .map(|(i, value)| {
            value
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| wrong_type(&format!("{path}[{i}]"), "a token id", value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn input(prompt: Value) -> Result<Input, ApiError> {
        let body = json!({"model": "m", "prompt": prompt}).to_string();
        completion(body.as_bytes()).map(|parsed| parsed.request.input.unwrap())
    }

    fn tokens(ids: &[u32]) -> Input {
        Input::Tokens(TokenIds { ids: ids.to_vec() })
    }

    #[test]
    fn prompts() {
        assert_eq!(input(json!("hi")).unwrap(), Input::Prompt("hi".into()));
        assert_eq!(input(json!(["hi"])).unwrap(), Input::Prompt("hi".into()));
        assert_eq!(input(json!([1, 2])).unwrap(), tokens(&[1, 2]));
        assert_eq!(input(json!([[1, 2]])).unwrap(), tokens(&[1, 2]));
        for (bad, param) in [
            (json!(["a", "b"]), "prompt"),
            (json!([[1], [2]]), "prompt"),
            (json!([1, "a"]), "prompt[1]"),
            (json!([-1]), "prompt[0]"),
            (json!([["a"]]), "prompt[0]"),
            (json!({}), "prompt"),
            (Value::Null, "prompt"),
        ] {
            assert_eq!(input(bad.clone()).unwrap_err().param.as_deref(), Some(param), "{bad}");
        }
    }

    #[test]
    fn log_probabilities_are_a_number_here() {
        let logprobs = |value: Value| {
            let body = json!({"model": "m", "prompt": "hi", "logprobs": value}).to_string();
            completion(body.as_bytes()).map(|parsed| parsed.request.sampling.unwrap().logprobs)
        };
        assert_eq!(logprobs(Value::Null).unwrap(), None);
        assert_eq!(logprobs(json!(false)).unwrap(), None);
        assert_eq!(logprobs(json!(0)).unwrap(), Some(0));
        assert_eq!(logprobs(json!(5)).unwrap(), Some(5));
        assert_eq!(logprobs(json!(true)).unwrap_err().param.as_deref(), Some("logprobs"));
    }

    #[test]
    fn sixteen_tokens_unless_said() {
        let max =
            |body: Value| completion(body.to_string().as_bytes()).unwrap().request.stop.unwrap().max_tokens;
        assert_eq!(max(json!({"model": "m", "prompt": "hi"})), Some(16));
        assert_eq!(max(json!({"model": "m", "prompt": "hi", "max_tokens": 3})), Some(3));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (name, value) in [("echo", json!(true)), ("suffix", json!("x")), ("best_of", json!(2))] {
            let mut body = json!({"model": "m", "prompt": "hi"});
            body[name] = value;
            assert_eq!(completion(body.to_string().as_bytes()).unwrap_err().param.as_deref(), Some(name));
        }
    }
}
