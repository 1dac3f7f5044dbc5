//! `POST /v1/chat/completions`.

use hearth_proto::inference::v1::{Chat, GenerateRequest, generate_request};
use serde_json::Value;

use super::{
    Parsed, Tools,
    constraint::constraint,
    fields::{Fields, wrong_type},
    message::message,
    options::{self, Unsupported},
    sampling::sampling,
    tools::{Offer, offer},
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
    let Offer { tools: offered, names, call } = offer(&fields)?;
    let tools = Tools { names, only_one: fields.boolean("parallel_tool_calls")? == Some(false) };
    let constraint = match (constraint(&fields)?, call) {
        (Some(_), Some(_)) => {
            let said = "tool_choice requires a call and another form is asked for too: send one of them";
            return Err(ApiError::invalid("tool_choice", said));
        }
        (form, call) => form.or(call),
    };
    let request = GenerateRequest {
        model,
        input: Some(generate_request::Input::Chat(Chat { messages, add_generation_prompt, tools: offered })),
        sampling: Some(sampling(&fields, logprobs(&fields)?)?),
        stop: Some(options::stop(&fields, max_tokens)?),
        constraint,
        shortcuts: options::shortcuts(&fields)?,
    };
    Ok(Parsed { request, choices: options::choices(&fields)?, tools, stream, include_usage })
}

const UNSUPPORTED: [Unsupported; 3] = [
    ("functions", options::is_empty),
    ("function_call", chooses_no_tool),
    ("modalities", |value| value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text"))),
];

/// How many of the likeliest tokens to tell, beside the one that is there.
fn logprobs(fields: &Fields) -> Result<Option<u32>, ApiError> {
    let (asked, top) = (fields.boolean("logprobs")?, fields.count("top_logprobs")?);
    match (asked, top) {
        (Some(true), top) => Ok(Some(top.unwrap_or(0))),
        (Some(false) | None, None | Some(0)) => Ok(None),
        (Some(false) | None, Some(_)) => {
            let said = "top_logprobs is given without logprobs: set logprobs to true";
            Err(ApiError::invalid("top_logprobs", said))
        }
    }
}

/// Without tools, `auto` comes to the same as `none`.
fn chooses_no_tool(value: &Value) -> bool {
    value == "none" || value == "auto"
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
            ("best_of", json!(2)),
            ("functions", json!([{"name": "x"}])),
            ("function_call", json!({"name": "x"})),
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
    fn a_talk_with_a_tool() {
        let call =
            json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}});
        let parsed = parse(&json!({
            "model": "m",
            "tools": [{"type": "function", "function": {"name": "add"}}],
            "messages": [
                {"role": "user", "content": "1 + 1?"},
                {"role": "assistant", "content": null, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"},
            ],
        }))
        .unwrap();
        assert_eq!(parsed.tools, Tools { names: vec!["add".into()], only_one: false });
        let Some(generate_request::Input::Chat(chat)) = parsed.request.input else { panic!() };
        assert_eq!(chat.tools, [r#"{"type":"function","function":{"name":"add"}}"#]);
        let made = &chat.messages[1].tool_calls[0];
        assert_eq!(
            (made.id.as_str(), made.name.as_str(), made.arguments.as_str()),
            ("c1", "add", "{\"a\": 1}")
        );
        let answer = &chat.messages[2];
        assert_eq!((answer.tool_call_id.as_deref(), answer.name.as_deref()), (Some("c1"), Some("add")));
    }

    #[test]
    fn log_probabilities_and_choices() {
        let logprobs = |top: Value| {
            let mut body = json!({"model": "m", "messages": [], "logprobs": true});
            body["top_logprobs"] = top;
            parse(&body).unwrap().request.sampling.unwrap().logprobs
        };
        assert_eq!((logprobs(Value::Null), logprobs(json!(5))), (Some(0), Some(5)));
        assert_eq!(with("logprobs", json!(false)).unwrap().request.sampling.unwrap().logprobs, None);
        assert_eq!(with("user", json!("x")).unwrap().choices, 1);
        assert_eq!(with("n", json!(3)).unwrap().choices, 3);
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
            (
                "messages",
                json!([{"role": "assistant", "tool_calls": [{}]}]),
                "messages[0].tool_calls[0].function.arguments",
            ),
            (
                "messages",
                json!([{"role": "tool", "content": "", "tool_call_id": 1}]),
                "messages[0].tool_call_id",
            ),
            ("temperature", json!("hot"), "temperature"),
            ("max_tokens", json!(-1), "max_tokens"),
            ("max_tokens", json!(1.5), "max_tokens"),
            ("seed", json!("x"), "seed"),
            ("n", json!(0), "n"),
            ("n", json!(17), "n"),
            ("logprobs", json!(1), "logprobs"),
            ("top_logprobs", json!(3), "top_logprobs"),
            ("response_format", json!({"type": "json_schema"}), "response_format.json_schema"),
            ("min_tokens", json!(-1), "min_tokens"),
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
                    "response_format", "logprobs", "top_logprobs", "logit_bias", "echo", "suffix",
                    "guided_json", "guided_choice", "structured_outputs", "dry_sequence_breakers",
                    "repeat_last_n", "min_tokens",
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
