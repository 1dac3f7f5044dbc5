//! `POST /v1/chat/completions`.

use hearth_proto::inference::v1::{Chat, ChatMessage, GenerateRequest, generate_request};
use serde_json::{Map, Value};

use super::{
    Parsed,
    fields::{Fields, show, wrong_type},
    options::{self, Unsupported},
};
use crate::gateway::http::error::ApiError;

/// Reads the body of a request for a chat completion.
///
/// # Errors
/// Names the field that is wrong or not supported.
pub fn chat(body: &[u8]) -> Result<Parsed, ApiError> {
    let fields = Fields::parse(body)?;
    let model = options::model(&fields)?;
    options::refuse_unsupported(&fields, &UNSUPPORTED)?;
    let messages = match fields.get("messages") {
        None => return Err(ApiError::invalid("messages", "messages is missing: send at least one message")),
        Some(Value::Array(messages)) => {
            messages.iter().enumerate().map(|(i, value)| message(i, value)).collect::<Result<_, _>>()?
        }
        Some(other) => return Err(wrong_type("messages", "an array of messages", other)),
    };
    let add_generation_prompt = fields.boolean("add_generation_prompt")?;
    // The newer name wins where both are sent, as at OpenAI.
    let max_tokens = match fields.count("max_completion_tokens")? {
        Some(max_tokens) => Some(max_tokens),
        None => fields.count("max_tokens")?,
    };
    let (stream, include_usage) = options::streaming(&fields)?;
    let request = GenerateRequest {
        model,
        input: Some(generate_request::Input::Chat(Chat { messages, add_generation_prompt })),
        sampling: Some(options::sampling(&fields)?),
        stop: Some(options::stop(&fields, max_tokens)?),
    };
    Ok(Parsed { request, stream, include_usage })
}

const UNSUPPORTED: [Unsupported; 7] = [
    ("tools", options::is_empty),
    ("functions", options::is_empty),
    ("tool_choice", chooses_no_tool),
    ("function_call", chooses_no_tool),
    ("logprobs", |value| value == &Value::Bool(false)),
    ("top_logprobs", options::is_zero),
    ("modalities", |value| value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text"))),
];

/// Without tools, `auto` comes to the same as `none`.
fn chooses_no_tool(value: &Value) -> bool {
    value == "none" || value == "auto"
}

fn message(i: usize, value: &Value) -> Result<ChatMessage, ApiError> {
    let path = format!("messages[{i}]");
    let Value::Object(message) = value else { return Err(wrong_type(&path, "an object", value)) };
    let role = match message.get("role") {
        Some(Value::String(role)) if !role.is_empty() => role,
        _ => {
            let path = format!("{path}.role");
            let said = format!("{path} must be system, user or assistant");
            return Err(ApiError::invalid(path, said));
        }
    };
    for field in ["tool_calls", "function_call", "audio"] {
        if message.get(field).is_some_and(|value| !options::is_empty(value)) {
            let path = format!("{path}.{field}");
            let said = format!("{path} is not supported yet: leave it out");
            return Err(ApiError::unsupported(path, said));
        }
    }
    // OpenAI's newer word for the same; no open model's template knows it.
    let role = if role == "developer" { "system" } else { role };
    Ok(ChatMessage { role: role.to_owned(), content: content(&path, role, message)? })
}

fn content(path: &str, role: &str, message: &Map<String, Value>) -> Result<String, ApiError> {
    let path = format!("{path}.content");
    match message.get("content") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let texts = parts
                .iter()
                .enumerate()
                .map(|(i, value)| part(&format!("{path}[{i}]"), value))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(texts.join("\n"))
        }
        None | Some(Value::Null) if role == "assistant" => Ok(String::new()),
        None | Some(Value::Null) => {
            let said = format!("{path} is missing: send a string or an array of text parts");
            Err(ApiError::invalid(path, said))
        }
        Some(other) => Err(wrong_type(&path, "a string or an array of text parts", other)),
    }
}

fn part<'a>(path: &str, value: &'a Value) -> Result<&'a str, ApiError> {
    match value.get("type").and_then(Value::as_str) {
        Some("text") => match value.get("text") {
            Some(Value::String(text)) => Ok(text),
            other => Err(wrong_type(&format!("{path}.text"), "a string", other.unwrap_or(&Value::Null))),
        },
        Some(kind) => {
            let path = format!("{path}.type");
            let kind = show(&Value::from(kind));
            let said = format!("{path}: {kind} is not supported yet: only text is");
            Err(ApiError::unsupported(path, said))
        }
        None => {
            Err(wrong_type(path, "an object with a type, such as {\"type\": \"text\", \"text\": …}", value))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<Parsed, ApiError> {
        chat(body.to_string().as_bytes())
    }

    fn with(name: &str, value: Value) -> Result<Parsed, ApiError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body[name] = value;
        parse(&body)
    }

    #[test]
    fn a_full_request() {
        let parsed = parse(&json!({
            "model": "m",
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": null},
            ],
            "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": -1,
            "max_tokens": 5, "max_completion_tokens": 7, "stop": ["x", "y"],
            "stream": true, "stream_options": {"include_usage": true},
            "n": 1, "tools": [], "logprobs": false, "user": "someone", "response_format": {"type": "text"},
        }))
        .unwrap();
        assert!(parsed.stream && parsed.include_usage);
        let Some(generate_request::Input::Chat(chat)) = parsed.request.input else { panic!() };
        let messages: Vec<_> = chat.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        assert_eq!(messages, [("system", "be brief"), ("user", "a\nb"), ("assistant", "")]);
        let sampling = parsed.request.sampling.unwrap();
        assert_eq!((sampling.top_k, sampling.seed), (Some(40), Some(u64::MAX)));
        let stop = parsed.request.stop.unwrap();
        assert_eq!((stop.max_tokens, stop.sequences), (Some(7), vec!["x".to_owned(), "y".to_owned()]));
    }

    #[test]
    fn defaults_are_the_servers() {
        let parsed = with("user", json!("x")).unwrap();
        assert!(!parsed.stream);
        assert_eq!(parsed.request.stop.unwrap().max_tokens, None);
        assert_eq!(parsed.request.sampling.unwrap().temperature, None);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (name, value) in [
            ("n", json!(2)),
            ("tools", json!([{"type": "function"}])),
            ("tool_choice", json!("required")),
            ("response_format", json!({"type": "json_schema"})),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(3)),
            ("frequency_penalty", json!(0.5)),
            ("logit_bias", json!({"1": 5})),
            ("modalities", json!(["text", "audio"])),
        ] {
            let error = with(name, value).unwrap_err();
            assert_eq!(error.status, 400);
            assert_eq!((error.param.as_deref(), error.code), (Some(name), Some("unsupported_parameter")));
            assert!(error.message.starts_with(name), "{}", error.message);
        }
        let error = with(
            "messages",
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        )
        .unwrap_err();
        assert_eq!(error.param.as_deref(), Some("messages[0].content[0].type"));
    }

    #[test]
    fn wrong_types_are_named() {
        for (name, value, param) in [
            ("model", json!(""), "model"),
            ("messages", json!("hi"), "messages"),
            ("messages", json!(["hi"]), "messages[0]"),
            ("messages", json!([{"content": "hi"}]), "messages[0].role"),
            ("messages", json!([{"role": "user"}]), "messages[0].content"),
            ("messages", json!([{"role": "user", "content": 1}]), "messages[0].content"),
            (
                "messages",
                json!([{"role": "user", "content": [{"type": "text"}]}]),
                "messages[0].content[0].text",
            ),
            ("messages", json!([{"role": "user", "content": [1]}]), "messages[0].content[0]"),
            ("temperature", json!("hot"), "temperature"),
            ("max_tokens", json!(-1), "max_tokens"),
            ("max_tokens", json!(1.5), "max_tokens"),
            ("seed", json!("x"), "seed"),
            ("top_k", json!(-2), "top_k"),
            ("stop", json!(1), "stop"),
            ("stop", json!(["a", 1]), "stop[1]"),
            ("stream", json!("yes"), "stream"),
            ("stream_options", json!(true), "stream_options"),
            ("stream_options", json!({"include_usage": 1}), "stream_options.include_usage"),
        ] {
            let error = with(name, value.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{name}: {value}");
        }
    }

    /// JSON that looks like requests, so that every branch is reached.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop::sample::select(vec!["", "m", "user", "text", "none", "é🦀"]).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let key = prop::sample::select(vec!["type", "text", "role", "content", "include_usage", "x"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(key.prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = chat(&body);
            let _ = super::super::completion(&body);
        }

        #[test]
        fn objects_never_panic(
            fields in prop::collection::hash_map(
                prop::sample::select(vec![
                    "model", "messages", "prompt", "temperature", "top_p", "top_k", "min_p", "max_tokens",
                    "max_completion_tokens", "stop", "seed", "n", "stream", "stream_options", "tools",
                    "response_format", "logprobs", "logit_bias", "echo", "suffix",
                ]).prop_map(str::to_owned),
                values(),
                0..10,
            )
        ) {
            let body = Value::Object(fields.into_iter().collect()).to_string();
            for result in [chat(body.as_bytes()), super::super::completion(body.as_bytes())] {
                match result {
                    Ok(parsed) => prop_assert!(!parsed.request.model.is_empty()),
                    Err(error) => {
                        prop_assert_eq!(error.status.as_u16(), 400);
                        prop_assert!(!error.message.is_empty());
                    }
                }
            }
        }
    }
}
