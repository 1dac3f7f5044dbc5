//! A conversation between the wire's types and the engine's.

use hearth_engine::{Chat, ChatMessage, Input, Json};
use hearth_proto::inference::v1 as api;
use tonic::Status;

use crate::status;

/// Tools come as JSON in text; the template wants objects.
pub(super) fn input(chat: api::Chat) -> Result<Input, Status> {
    let api::Chat { messages, add_generation_prompt, tools } = chat;
    let tools = tools.iter().enumerate().map(|(index, tool)| match Json::parse(tool) {
        Ok(tool @ Json::Object(_)) => Ok(tool),
        Ok(_) => {
            Err(status::invalid("chat.tools", format!("has something else than an object at index {index}")))
        }
        Err(error) => Err(status::invalid("chat.tools", format!("is not JSON at index {index}: {error}"))),
    });
    let tools = tools.collect::<Result<Vec<_>, _>>()?;
    let add_generation_prompt = add_generation_prompt.unwrap_or(true);
    let messages = messages.into_iter().map(message).collect();
    Ok(Input::Chat(Chat { add_generation_prompt, tools, ..Chat::new(messages) }))
}

fn message(message: api::ChatMessage) -> ChatMessage {
    let api::ChatMessage { role, content, tool_calls, tool_call_id, name } = message;
    let mut message = ChatMessage::new(role, content);
    if !tool_calls.is_empty() {
        let calls = tool_calls.into_iter().map(call).collect();
        message.fields.push(("tool_calls".into(), Json::List(calls)));
    }
    for (field, value) in [("tool_call_id", tool_call_id), ("name", name)] {
        message.fields.extend(value.map(|value| (field.into(), Json::Text(value))));
    }
    message
}

/// As OpenAI's interface has it, which is what templates are written for.
fn call(call: api::ToolCall) -> Json {
    let api::ToolCall { id, name, arguments } = call;
    let text = |field: &str, value| (field.to_owned(), Json::Text(value));
    let function = Json::Object(vec![text("name", name), text("arguments", arguments)]);
    Json::Object(vec![text("id", id), text("type", "function".into()), ("function".into(), function)])
}

#[cfg(test)]
mod tests {
    use hearth_engine::Json;
    use hearth_proto::inference::v1 as api;

    use super::{call, input};

    #[test]
    fn a_tool_that_is_no_object_is_refused_by_its_place() {
        let chat = |tool: &str| api::Chat { tools: vec!["{}".into(), tool.into()], ..api::Chat::default() };
        assert!(input(chat(r#"{"type": "function"}"#)).is_ok());
        for tool in ["[]", "{", ""] {
            let refused = input(chat(tool)).unwrap_err();
            assert!(refused.message().contains("index 1"), "{refused}");
        }
    }

    #[test]
    fn a_call_is_what_templates_read() {
        let made = call(api::ToolCall { id: "1".into(), name: "f".into(), arguments: "{}".into() });
        let expected = r#"{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}"#;
        assert_eq!(made, Json::parse(expected).unwrap());
    }
}
