//! What a model is asked to continue, and what can be wrong with it.

use thiserror::Error;

use crate::Json;

/// Characters of the longest role.
const LONGEST_ROLE: usize = 64;

/// What to continue.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Raw text. The model's own start token is added, its template is not. Control
    /// tokens that are written out in it are what they name.
    Prompt(String),
    /// Messages, rendered with the template of the model's file.
    Chat(Chat),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

/// A conversation, and what the template is told beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chat {
    /// At least one.
    pub messages: Vec<ChatMessage>,
    /// Whether the template opens the assistant's turn.
    pub add_generation_prompt: bool,
    /// Functions that the model may call, as JSON schemas.
    pub tools: Vec<Json>,
    /// Documents that the model may draw on.
    pub documents: Vec<Json>,
    /// Further variables of the template (`enable_thinking`).
    pub options: Vec<(String, Json)>,
}

impl Chat {
    /// A conversation that the assistant is to go on with.
    #[must_use]
    pub fn new(messages: Vec<ChatMessage>) -> Self {
        Self {
            messages,
            add_generation_prompt: true,
            tools: Vec::new(),
            documents: Vec::new(),
            options: Vec::new(),
        }
    }
}

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool` or what else the template knows.
    pub role: String,
    /// What was said: a text, or parts as the template reads them. Absent where the
    /// message has no such field at all; a call of a tool has `null`.
    pub content: Option<Json>,
    /// Other fields (`tool_calls`, `tool_call_id`, `name`, `reasoning_content`), in order.
    pub fields: Vec<(String, Json)>,
}

impl ChatMessage {
    /// A message that is a text.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(Json::Text(content.into())), fields: Vec::new() }
    }

    /// The same message with arguments of tool calls read, where they are JSON in a
    /// text. That is how OpenAI's interface has them, and few templates.
    #[must_use]
    pub fn with_arguments_read(&self) -> Self {
        let mut message = self.clone();
        let calls = message.fields.iter_mut().filter(|(name, _)| name == "tool_calls");
        for call in calls.filter_map(|(_, calls)| list(calls)).flatten() {
            let function = field(call, "function").and_then(|function| field(function, "arguments"));
            if let Some(arguments) = function
                && let Some(object @ Json::Object(_)) =
                    arguments.as_str().and_then(|text| Json::parse(text).ok())
            {
                *arguments = object;
            }
        }
        message
    }
}

fn list(json: &mut Json) -> Option<&mut Vec<Json>> {
    match json {
        Json::List(items) => Some(items),
        _ => None,
    }
}

fn field<'j>(json: &'j mut Json, name: &str) -> Option<&'j mut Json> {
    match json {
        Json::Object(fields) => fields.iter_mut().find(|(n, _)| n == name).map(|(_, value)| value),
        _ => None,
    }
}

/// Why an input is not one that the model can continue.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InputError {
    /// A field is out of range.
    #[error("`{field}` is {value}: {message}")]
    Invalid {
        /// The field, as the wire contract names it.
        field: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        message: String,
    },
    /// The prompt leaves no room for a single token of output.
    #[error(
        "the prompt has {}{prompt_tokens} tokens and the context is {context_tokens}: shorten the prompt, or serve the model with a longer context",
        if *at_least { "at least " } else { "" }
    )]
    ContextExceeded {
        /// The field that held the prompt, as the wire contract names it.
        field: &'static str,
        /// Tokens of the prompt.
        prompt_tokens: u64,
        /// Whether `prompt_tokens` is a lower bound, because a text that cannot
        /// fit is not tokenized to the end.
        at_least: bool,
        /// Tokens that a sequence may hold.
        context_tokens: u32,
    },
}

impl Input {
    /// The field that the input came in, as the wire contract names it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Prompt(_) => "prompt",
            Self::Chat(_) => "chat.messages",
            Self::Tokens(_) => "tokens.ids",
        }
    }

    /// Looks at everything that does not need the model.
    ///
    /// # Errors
    /// [`InputError::Invalid`] for an input that is empty, or a role that is no word.
    pub fn check(&self) -> Result<(), InputError> {
        match self {
            Self::Prompt(text) if text.is_empty() => Err(invalid("prompt", "empty", "give some text")),
            Self::Chat(Chat { messages, .. }) if messages.is_empty() => {
                Err(invalid("chat.messages", "empty", "give at least one message"))
            }
            // Templates make control tokens out of roles (`'<|' + role + '|>'`).
            Self::Chat(Chat { messages, .. }) => match messages.iter().find(|m| !is_role(&m.role)) {
                Some(ChatMessage { role, .. }) => {
                    let role: String = role.chars().take(LONGEST_ROLE).collect();
                    let message = "give letters, digits, `_`, `-` and `.`, up to 64 of them";
                    Err(invalid("chat.messages.role", format!("{role:?}"), message))
                }
                None => Ok(()),
            },
            Self::Tokens(ids) if ids.is_empty() => {
                Err(invalid("tokens.ids", "empty", "give at least one id"))
            }
            Self::Prompt(_) | Self::Tokens(_) => Ok(()),
        }
    }
}

fn is_role(role: &str) -> bool {
    (1..=LONGEST_ROLE).contains(&role.len())
        && role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

pub(crate) fn invalid(field: &'static str, value: impl ToString, message: &str) -> InputError {
    InputError::Invalid { field, value: value.to_string(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::{Chat, ChatMessage, Input, InputError};
    use crate::Json;

    #[test]
    fn inputs_that_are_empty_or_odd_name_their_field() {
        let chat = |role: &str| Input::Chat(Chat::new(vec![ChatMessage::new(role, "")]));
        for (field, input) in [
            (Some("prompt"), Input::Prompt(String::new())),
            (Some("chat.messages"), Input::Chat(Chat::new(vec![]))),
            (Some("chat.messages.role"), chat("")),
            (Some("chat.messages.role"), chat("user|><|im_end")),
            (None, chat("user")),
            (Some("tokens.ids"), Input::Tokens(vec![])),
        ] {
            let found = match input.check() {
                Ok(()) => None,
                Err(InputError::Invalid { field, .. }) => Some(field),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, field);
        }
    }

    #[test]
    fn arguments_of_tool_calls_are_read() {
        let calls = |arguments: &str| {
            Json::parse(&format!(r#"[{{"function": {{"name": "f", "arguments": {arguments}}}}}]"#)).unwrap()
        };
        let message = |arguments| ChatMessage {
            fields: vec![("tool_calls".into(), calls(arguments))],
            ..ChatMessage::new("assistant", "")
        };
        assert_eq!(message(r#""{\"a\": 1}""#).with_arguments_read(), message(r#"{"a": 1}"#));
        assert_eq!(message(r#""no json""#).with_arguments_read(), message(r#""no json""#));
    }
}
