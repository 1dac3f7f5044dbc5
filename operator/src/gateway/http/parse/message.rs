//! The messages of a chat.

use hearth_proto::inference::v1::{ChatMessage, ToolCall};
use serde_json::{Map, Value};

use super::{
    fields::{show, wrong_type},
    options::is_empty,
};
use crate::gateway::http::error::ApiError;

pub(super) fn message(i: usize, value: &Value) -> Result<ChatMessage, ApiError> {
    let path = format!("messages[{i}]");
    let Value::Object(message) = value else { return Err(wrong_type(&path, "an object", value)) };
    let role = match message.get("role") {
        Some(Value::String(role)) if !role.is_empty() => role,
        _ => {
            let path = format!("{path}.role");
            let said = format!("{path} must be system, user, assistant or tool");
            return Err(ApiError::invalid(path, said));
        }
    };
    for field in ["function_call", "audio"] {
        if message.get(field).is_some_and(|value| !is_empty(value)) {
            let path = format!("{path}.{field}");
            let said = format!("{path} is not supported yet: leave it out");
            return Err(ApiError::unsupported(path, said));
        }
    }
    // OpenAI's newer word for the same; no open model's template knows it.
    let role = if role == "developer" { "system" } else { role };
    let text = |name: &str| match message.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong_type(&format!("{path}.{name}"), "a string", other)),
    };
    Ok(ChatMessage {
        role: role.to_owned(),
        content: content(&path, role, message)?,
        tool_calls: tool_calls(&format!("{path}.tool_calls"), message.get("tool_calls"))?,
        tool_call_id: text("tool_call_id")?,
        name: text("name")?,
    })
}

fn tool_calls(path: &str, value: Option<&Value>) -> Result<Vec<ToolCall>, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(vec![]),
        Some(Value::Array(calls)) => {
            calls.iter().enumerate().map(|(i, call)| tool_call(&format!("{path}[{i}]"), call)).collect()
        }
        Some(other) => Err(wrong_type(path, "an array of calls", other)),
    }
}

fn tool_call(path: &str, call: &Value) -> Result<ToolCall, ApiError> {
    let function = call.get("function").unwrap_or(&Value::Null);
    let text = |value: Option<&Value>, path: String| match value {
        Some(Value::String(text)) => Ok(text.clone()),
        other => Err(wrong_type(&path, "a string", other.unwrap_or(&Value::Null))),
    };
    let arguments = text(function.get("arguments"), format!("{path}.function.arguments"))?;
    if serde_json::from_str::<Map<String, Value>>(&arguments).is_err() {
        let path = format!("{path}.function.arguments");
        let said = format!("{path} must be a JSON object in a string, not {}", show(&Value::from(arguments)));
        return Err(ApiError::invalid(path, said));
    }
    Ok(ToolCall {
        id: text(call.get("id"), format!("{path}.id"))?,
        name: text(function.get("name"), format!("{path}.function.name"))?,
        arguments,
    })
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
