//! A request, and what can be wrong with it.

use hearth_sample::{Grammar, Sampling, Wrong};
use hearth_text::{Input, InputError};
use thiserror::Error;

/// Stop sequences that a request may name.
pub const MAX_STOP_SEQUENCES: usize = 16;

/// Guesses that a request may ask for at a time: beyond that, checking them takes
/// longer than being right saves.
pub const MAX_GUESSES: u32 = 16;

/// Bytes of a salt: what tells callers apart, not what they say.
pub const MAX_SALT_BYTES: usize = 256;

/// One generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to continue.
    pub input: Input,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// When to stop.
    pub stop: Stop,
    /// What the output must be.
    pub constraint: Option<Grammar>,
    /// How work is saved.
    pub shortcuts: Shortcuts,
}

/// How work is saved. Nothing of it changes the output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortcuts {
    /// What was computed of a prompt is used for others of the same salt, of at most
    /// [`MAX_SALT_BYTES`]. Who must not learn, by how long an answer takes, what others
    /// asked, needs another one.
    pub salt: String,
    /// Tokens that are guessed at a time from what the text said before, at the most
    /// [`MAX_GUESSES`]. 0, the default, guesses nothing. Worth it where an output repeats
    /// its prompt.
    pub guesses: u32,
}

/// When to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// Tokens to generate at the most. Absent: what is left of the context.
    pub max_tokens: Option<u32>,
    /// The output ends before the first of these. At most
    /// [`MAX_STOP_SEQUENCES`], none empty.
    pub sequences: Vec<String>,
    /// Go on past the model's end-of-turn token.
    pub ignore_eos: bool,
    /// The model does not end its turn before it has generated so many tokens.
    pub min_tokens: u32,
}

impl Request {
    /// Looks at everything that does not need the model.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for the first field that is out of range.
    pub(crate) fn check(&self) -> Result<(), RequestError> {
        let Self { input, sampling, stop, constraint, shortcuts } = self;
        sampling.check()?;
        if let Some(grammar) = constraint {
            grammar.check()?;
        }
        if shortcuts.guesses > MAX_GUESSES {
            let most = format!("give at most {MAX_GUESSES}");
            return Err(invalid("shortcuts.guesses", shortcuts.guesses, &most));
        }
        if shortcuts.salt.len() > MAX_SALT_BYTES {
            let value = format!("{} bytes", shortcuts.salt.len());
            return Err(invalid("shortcuts.salt", value, &format!("give at most {MAX_SALT_BYTES}")));
        }
        if stop.max_tokens == Some(0) {
            return Err(invalid("stop.max_tokens", 0, "give at least 1, or leave it out"));
        }
        if stop.max_tokens.is_some_and(|most| stop.min_tokens > most) {
            return Err(invalid("stop.min_tokens", stop.min_tokens, "give at most max_tokens"));
        }
        if stop.sequences.len() > MAX_STOP_SEQUENCES {
            let most = format!("give at most {MAX_STOP_SEQUENCES} sequences");
            return Err(invalid("stop.sequences", format!("{} sequences", stop.sequences.len()), &most));
        }
        if let Some(at) = stop.sequences.iter().position(String::is_empty) {
            let value = format!("empty at index {at}");
            return Err(invalid("stop.sequences", value, "leave empty sequences out"));
        }
        Ok(input.check()?)
    }
}

fn invalid(field: &'static str, value: impl ToString, message: &str) -> RequestError {
    RequestError::Invalid { field, value: value.to_string(), message: message.into() }
}

/// Why a request was not completed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RequestError {
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
    /// No model has the id.
    #[error("no model `{id}` is loaded")]
    UnknownModel {
        /// The id that was named.
        id: String,
    },
    /// As many requests wait as the engine lets wait.
    #[error("{waiting} requests are waiting already: try again later, or on another replica")]
    Busy {
        /// Requests that wait.
        waiting: usize,
    },
    /// It was cancelled, its model was unloaded, or the engine ended.
    #[error("the request was aborted: {reason}")]
    Aborted {
        /// Who ended it.
        reason: String,
    },
    /// A fault of the engine.
    #[error("the engine failed: {message}")]
    Internal {
        /// What is known of it.
        message: String,
    },
}

impl From<Wrong> for RequestError {
    fn from(Wrong { field, value, message }: Wrong) -> Self {
        Self::Invalid { field, value, message }
    }
}

impl From<InputError> for RequestError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Invalid { field, value, message } => Self::Invalid { field, value, message },
            InputError::ContextExceeded { field, prompt_tokens, at_least, context_tokens } => {
                Self::ContextExceeded { field, prompt_tokens, at_least, context_tokens }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_text::{Chat, ChatMessage, Input};

    use super::{Grammar, Request, RequestError, Sampling, Shortcuts, Stop};

    fn request() -> Request {
        Request {
            input: Input::Prompt("a".into()),
            sampling: Sampling::default(),
            stop: Stop::default(),
            constraint: None,
            shortcuts: Shortcuts::default(),
        }
    }

    fn field_of(request: &Request) -> Option<&'static str> {
        match request.check() {
            Ok(()) => None,
            Err(RequestError::Invalid { field, .. }) => Some(field),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(field_of(&request()), None);
        assert_eq!(field_of(&Request { sampling: Sampling::greedy(), ..request() }), None);
    }

    #[test]
    fn what_sampling_and_grammars_find_wrong_is_told() {
        let sampling = Sampling { top_p: 0.0, ..Sampling::default() };
        assert_eq!(field_of(&Request { sampling, ..request() }), Some("sampling.top_p"));
        let constraint = Some(Grammar::JsonSchema("{".into()));
        assert_eq!(field_of(&Request { constraint, ..request() }), Some("constraint.json_schema"));
    }

    #[test]
    fn shortcuts_out_of_range_name_their_field() {
        let guesses = |guesses| Shortcuts { guesses, ..Shortcuts::default() };
        let salt = |bytes| Shortcuts { salt: "x".repeat(bytes), ..Shortcuts::default() };
        for (shortcuts, field) in [
            (guesses(16), None),
            (guesses(17), Some("shortcuts.guesses")),
            (salt(256), None),
            (salt(257), Some("shortcuts.salt")),
        ] {
            assert_eq!(field_of(&Request { shortcuts, ..request() }), field);
        }
    }

    #[test]
    fn stops_out_of_range_name_their_field() {
        let stops = [
            ("stop.max_tokens", Stop { max_tokens: Some(0), ..Stop::default() }),
            ("stop.min_tokens", Stop { max_tokens: Some(4), min_tokens: 5, ..Stop::default() }),
            ("stop.sequences", Stop { sequences: vec!["a".into(); 17], ..Stop::default() }),
            ("stop.sequences", Stop { sequences: vec!["a".into(), String::new()], ..Stop::default() }),
        ];
        for (field, stop) in stops {
            assert_eq!(field_of(&Request { stop, ..request() }), Some(field));
        }
    }

    #[test]
    fn empty_inputs_name_their_field() {
        let message = ChatMessage::new("user", "");
        let chat = |messages| Input::Chat(Chat::new(messages));
        for (field, input) in [
            (Some("prompt"), Input::Prompt(String::new())),
            (Some("chat.messages"), chat(vec![])),
            (None, chat(vec![message])),
            (Some("tokens.ids"), Input::Tokens(vec![])),
        ] {
            assert_eq!(field_of(&Request { input, ..request() }), field);
        }
    }

    #[test]
    fn a_message_names_value_and_remedy() {
        let mut request = request();
        request.sampling.temperature = -1.0;
        let message = request.check().unwrap_err().to_string();
        assert_eq!(message, "`sampling.temperature` is -1: give a number from 0 (greedy) to 2");
    }
}
