//! What stands between a request's text and the tokens that a program takes.

mod output;
mod stop;
mod utf8;

use std::sync::Arc;

use hearth_model::Model;

use crate::api::{Input, LoadError, RequestError};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

pub(crate) use output::Output;
pub(crate) use stop::Scan;

/// The text side of a loaded model. Cheap to share: it does not change.
#[derive(Debug)]
pub struct TextModel {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    context_tokens: u32,
}

impl TextModel {
    /// Builds tokenizer and template from what the file holds.
    ///
    /// # Errors
    /// The file has no vocabulary, or vocabulary or template cannot be used.
    pub fn new(model: &Model, context_tokens: u32) -> Result<Self, LoadError> {
        let spec = model.tokenizer.as_ref().ok_or(crate::tokenizer::TokenizerError::Missing)?;
        let tokenizer = Tokenizer::new(spec)?;
        let template = model.chat_template.as_ref().map(|source| {
            let bos = tokenizer.bos_text().unwrap_or_default();
            let eos = tokenizer.eos_text().unwrap_or_default();
            ChatTemplate::new(Arc::clone(source), bos, eos)
        });
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
    pub fn prompt(&self, input: &Input) -> Result<Vec<u32>, RequestError> {
        let ids = self.tokens(input)?;
        if ids.is_empty() {
            return Err(crate::api::invalid("prompt", "no tokens", "give some text"));
        }
        self.fits(input.field(), ids.len() as u64, false)?;
        Ok(ids)
    }

    /// The tokens of an input. Text that cannot fit into the context is refused
    /// before it is tokenized; what just does not fit is not.
    ///
    /// # Errors
    /// As [`TextModel::prompt`].
    pub fn tokens(&self, input: &Input) -> Result<Vec<u32>, RequestError> {
        input.check()?;
        match input {
            Input::Prompt(text) => self.encode("prompt", text, true),
            Input::Chat { messages, add_generation_prompt } => {
                let template = self.template.as_ref().ok_or_else(|| {
                    let remedy = "the model's file has no chat template: send a prompt instead";
                    crate::api::invalid("chat", "given", remedy)
                })?;
                let text = template.render(messages, *add_generation_prompt).map_err(|error| {
                    crate::api::invalid(
                        "chat.messages",
                        "refused by the model's template",
                        &error.to_string(),
                    )
                })?;
                // A template writes the start token itself where it is wanted.
                self.encode("chat.messages", &text, false)
            }
            Input::Tokens(ids) => {
                let vocabulary = self.tokenizer.vocabulary();
                match ids.iter().find(|id| **id as usize >= vocabulary) {
                    Some(id) => {
                        let most = format!("the vocabulary's last id is {}", vocabulary.saturating_sub(1));
                        Err(crate::api::invalid("tokens.ids", id, &most))
                    }
                    None => Ok(ids.clone()),
                }
            }
        }
    }

    fn encode(&self, field: &'static str, text: &str, wrap: bool) -> Result<Vec<u32>, RequestError> {
        self.fits(field, self.tokenizer.at_least(text), true)?;
        self.tokenizer.encode(text, wrap).map_err(|error| {
            crate::api::invalid(field, "not writable in the model's vocabulary", &error.to_string())
        })
    }

    fn fits(&self, field: &'static str, prompt_tokens: u64, at_least: bool) -> Result<(), RequestError> {
        if prompt_tokens < u64::from(self.context_tokens) {
            return Ok(());
        }
        let context_tokens = self.context_tokens;
        Err(RequestError::ContextExceeded { field, prompt_tokens, at_least, context_tokens })
    }
}
