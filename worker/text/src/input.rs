//! What a model is asked to continue, and what can be wrong with it.

use serde::Serialize;
use thiserror::Error;

/// What to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Raw text. The model's own start token is added, its template is not.
    Prompt(String),
    /// Messages, rendered with the template of the model's file.
    Chat {
        /// At least one.
        messages: Vec<ChatMessage>,
        /// Whether the template opens the assistant's turn.
        add_generation_prompt: bool,
    },
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or what else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
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
            Self::Chat { .. } => "chat.messages",
            Self::Tokens(_) => "tokens.ids",
        }
    }

    /// Looks at everything that does not need the model.
    ///
    /// # Errors
    /// [`InputError::Invalid`] for an input that is empty.
    pub fn check(&self) -> Result<(), InputError> {
        match self {
            Input::Prompt(text) if text.is_empty() => Err(invalid("prompt", "empty", "give some text")),
            Input::Chat { messages, .. } if messages.is_empty() => {
                Err(invalid("chat.messages", "empty", "give at least one message"))
            }
            Input::Tokens(ids) if ids.is_empty() => {
                Err(invalid("tokens.ids", "empty", "give at least one id"))
            }
            Input::Prompt(_) | Input::Chat { .. } | Input::Tokens(_) => Ok(()),
        }
    }
}

pub(crate) fn invalid(field: &'static str, value: impl ToString, message: &str) -> InputError {
    InputError::Invalid { field, value: value.to_string(), message: message.into() }
}
