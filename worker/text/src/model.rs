//! The text side of a loaded model.

use hearth_model::Model;
use jiff::Zoned;
use thiserror::Error;

use crate::input::invalid;
use crate::template::{ChatTemplate, Rendered, TemplateError};
use crate::tokenizer::{EncodeError, Tokenizer, TokenizerError};
use crate::{Chat, ChatMessage, Input, InputError};

/// The text side of a loaded model. Cheap to share: it does not change.
#[derive(Debug)]
pub struct TextModel {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    context_tokens: u32,
}

/// Why a model's text cannot be read or written.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The tokenizer in the file cannot be built.
    #[error("the tokenizer in the file cannot be built")]
    Tokenizer(#[from] TokenizerError),
    /// The chat template in the file cannot be read.
    #[error("the chat template in the file cannot be read")]
    Template(#[from] TemplateError),
}

impl TextModel {
    /// Builds tokenizer and template from what the file holds.
    ///
    /// # Errors
    /// The file has no vocabulary, or vocabulary or template cannot be used.
    pub fn new(model: &Model, context_tokens: u32) -> Result<Self, BuildError> {
        let spec = model.tokenizer.as_ref().ok_or(TokenizerError::Missing)?;
        Self::with(Tokenizer::new(spec)?, model.chat_template.as_deref(), context_tokens)
    }

    /// Puts a tokenizer and the source of a template together.
    ///
    /// # Errors
    /// The template cannot be used.
    pub fn with(
        tokenizer: Tokenizer,
        template: Option<&str>,
        context_tokens: u32,
    ) -> Result<Self, BuildError> {
        let template = template
            .map(|source| ChatTemplate::new(source, tokenizer.named().to_vec(), tokenizer.control_texts()));
        Ok(Self { template: template.transpose()?, tokenizer, context_tokens })
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens that a sequence may hold.
    #[must_use]
    pub fn context_tokens(&self) -> u32 {
        self.context_tokens
    }

    /// The tokens of a prompt, of which at least one more fits into the context.
    ///
    /// # Errors
    /// The input is empty, does not fit, names ids that do not exist, or is a
    /// chat that the model cannot render.
    pub fn prompt(&self, input: &Input) -> Result<Vec<u32>, InputError> {
        let ids = self.tokens(input)?;
        if ids.is_empty() {
            return Err(invalid("prompt", "no tokens", "give some text"));
        }
        self.fits(input.field(), ids.len() as u64, false)?;
        Ok(ids)
    }

    /// The tokens of an input. Text that cannot fit into the context is refused
    /// before it is tokenized; what just does not fit is not.
    ///
    /// # Errors
    /// As [`TextModel::prompt`].
    pub fn tokens(&self, input: &Input) -> Result<Vec<u32>, InputError> {
        input.check()?;
        match input {
            Input::Prompt(text) => {
                self.fits("prompt", self.tokenizer.at_least(text), true)?;
                self.tokenizer.encode(text, true).map_err(|error| unwritable("prompt", &error))
            }
            Input::Chat(chat) => {
                let rendered = self.render(chat)?;
                self.fits("chat.messages", self.tokenizer.at_least(&rendered.text), true)?;
                // A template writes the start token itself where it is wanted.
                self.tokenizer.encode_rendered(&rendered).map_err(|error| unwritable("chat.messages", &error))
            }
            Input::Tokens(ids) => {
                let vocabulary = self.tokenizer.vocabulary();
                match ids.iter().find(|id| **id as usize >= vocabulary) {
                    Some(id) => {
                        let most = format!("the vocabulary's last id is {}", vocabulary.saturating_sub(1));
                        Err(invalid("tokens.ids", id, &most))
                    }
                    None => Ok(ids.clone()),
                }
            }
        }
    }

    /// The text of a chat. Arguments of tool calls come as objects or as the text that
    /// OpenAI's interface has; most templates want objects, a few want texts.
    fn render(&self, chat: &Chat) -> Result<Rendered, InputError> {
        let template = self.template.as_ref().ok_or_else(|| {
            let remedy = "the model's file has no chat template: send a prompt instead";
            invalid("chat", "given", remedy)
        })?;
        let now = Zoned::now();
        let messages = chat.messages.iter().map(ChatMessage::with_arguments_read).collect::<Vec<_>>();
        let read = Chat { messages, ..chat.clone() };
        let rendered = template.render(&read, &now);
        let rendered = rendered.or_else(|error| match read == *chat {
            true => Err(error),
            false => template.render(chat, &now).map_err(|_| error),
        });
        rendered
            .map_err(|error| invalid("chat.messages", "refused by the model's template", &error.to_string()))
    }

    fn fits(&self, field: &'static str, prompt_tokens: u64, at_least: bool) -> Result<(), InputError> {
        if prompt_tokens < u64::from(self.context_tokens) {
            return Ok(());
        }
        let context_tokens = self.context_tokens;
        Err(InputError::ContextExceeded { field, prompt_tokens, at_least, context_tokens })
    }
}

fn unwritable(field: &'static str, error: &EncodeError) -> InputError {
    invalid(field, "not writable in the model's vocabulary", &error.to_string())
}
