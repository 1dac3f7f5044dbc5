//! The chat template that a model's files carry.
//!
//! Templates are Jinja, written for Python and rendered by transformers: string and
//! list methods work, values are written as Python writes them ([`python`]), and the
//! helpers are there that templates on the hubs expect ([`helpers`]).
//!
//! They come from outside, so what they use is limited ([`bounds`]): steps, bytes
//! made in all (variables as well as output), nesting, and the depth of calls. They
//! run on a stack of their own, so that a deep expression cannot end the process.
//!
//! A rendered chat is one text, in which a message that says `<|im_end|>` looks just
//! like the end of a turn. [`shield`] keeps the two apart: what messages, tools and
//! documents say never becomes a control token.

mod bounds;
mod helpers;
mod methods;
mod python;
mod shield;
mod source;

use std::fmt;
use std::sync::Arc;

use jiff::Zoned;
use minijinja::machinery::{CodeGenerator, eval, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind};
use thiserror::Error;

use crate::{Chat, ChatMessage, Json};
use bounds::Budget;
use shield::Shield;

pub use shield::Rendered;

/// Stack of a rendering. Calls of macros nest up to [`RECURSION`], and values as
/// deep as [`bounds::DEPTH`]; measured without optimisation, both take under 4 MiB.
const STACK_BYTES: usize = 16 << 20;

/// Macros and loops that may be under way inside each other.
const RECURSION: usize = 100;

/// Names that a chat's options may not take from the template.
const RESERVED: &[&str] = &[
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "raise_exception",
    "strftime_now",
    "namespace",
    "range",
    "dict",
];

/// A template that has been parsed.
pub struct ChatTemplate {
    source: String,
    named: Vec<(String, String)>,
    shield: Shield,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a template, or what it says is wrong with the messages.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TemplateError(String);

impl TemplateError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        match (error.detail(), error.line()) {
            (Some(detail), _) if error.kind() == ErrorKind::InvalidOperation => Self(detail.to_owned()),
            (_, Some(line)) => Self(format!("{error} (line {line})")),
            (_, None) => Self(error.to_string()),
        }
    }
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Parses a template. `named` are variables that stand for tokens (`bos_token`);
    /// `control` is what the tokens are written as that no message may form.
    ///
    /// # Errors
    /// The source is not a template, or it is larger than any that is in use.
    pub fn new<'c>(
        source: &str,
        named: Vec<(String, String)>,
        control: impl IntoIterator<Item = &'c str>,
    ) -> Result<Self, TemplateError> {
        let source = source::prepare(source, &syntax()?)?;
        let shield = Shield::new(control)?;
        let template = Self { source, named, shield };
        on_own_stack(|| template.compiled(|_, _| Ok(())))?;
        Ok(template)
    }

    /// The text of a chat, as of `now`.
    ///
    /// # Errors
    /// What the template says against the chat, or the limit that it ran into.
    pub fn render(&self, chat: &Chat, now: &Zoned) -> Result<Rendered, TemplateError> {
        on_own_stack(|| {
            let budget = Arc::new(Budget::default());
            let context = self.context(chat)?;
            let mut environment = Environment::new();
            environment.set_fuel(Some(bounds::FUEL));
            environment.set_recursion_limit(RECURSION);
            helpers::install(&mut environment, &budget, now);
            methods::install(&mut environment, &budget);
            let mut text = String::new();
            self.compiled(|code, blocks| {
                let mut out = make_string_output(&mut text);
                eval(&environment, code, context, blocks, &mut out, AutoEscape::None)?;
                Ok(())
            })?;
            Ok(Shield::lift(&text))
        })
    }

    /// Parses, and hands the bounded instructions on. They borrow the source, and a
    /// render takes much longer than this does.
    fn compiled(
        &self,
        then: impl FnOnce(&bounds::Code<'_>, &bounds::Blocks<'_>) -> Result<(), minijinja::Error>,
    ) -> Result<(), TemplateError> {
        let tree = parse(&self.source, NAME, syntax()?)?;
        source::check(&tree)?;
        let mut generator = CodeGenerator::new(NAME, &self.source);
        generator.compile_stmt(&tree);
        let (code, blocks) = generator.finish();
        let blocks = blocks.into_iter().map(|(name, code)| (name, bounds::bounded(&code, &self.source)));
        Ok(then(&bounds::bounded(&code, &self.source), &blocks.collect())?)
    }

    fn context(&self, chat: &Chat) -> Result<Value, TemplateError> {
        let Chat { messages, add_generation_prompt, tools, documents, options } = chat;
        let none_if_empty = |list: &[Json]| match list {
            [] => Value::from(()),
            list => Value::from(list.iter().map(|item| self.value(item)).collect::<Vec<_>>()),
        };
        let named = self.named.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
        let mut pairs = named.collect::<Vec<_>>();
        for (name, value) in options {
            if RESERVED.contains(&name.as_str()) || !is_name(name) {
                return Err(TemplateError::new(format!("`{name}` is no name that an option may have")));
            }
            pairs.push((name.clone(), self.value(value)));
        }
        let messages = messages.iter().map(|message| self.message(message)).collect::<Vec<_>>();
        pairs.push(("messages".into(), Value::from(messages)));
        pairs.push(("add_generation_prompt".into(), Value::from(*add_generation_prompt)));
        pairs.push(("tools".into(), none_if_empty(tools)));
        pairs.push(("documents".into(), none_if_empty(documents)));
        Ok(Value::from_pairs(pairs))
    }

    fn message(&self, message: &ChatMessage) -> Value {
        let ChatMessage { role, content, fields } = message;
        let role = ("role".to_owned(), Value::from(self.shield.mark(role)));
        let content = content.as_ref().map(|content| ("content".to_owned(), self.value(content)));
        let fields = fields.iter().map(|(name, value)| (self.shield.mark(name), self.value(value)));
        Value::from_pairs(std::iter::once(role).chain(content).chain(fields))
    }

    /// A value for the template, with its texts marked.
    fn value(&self, json: &Json) -> Value {
        match json {
            Json::Null => Value::from(()),
            Json::Bool(value) => Value::from(*value),
            Json::Integer(value) => Value::from(*value),
            Json::Float(value) => Value::from(*value),
            Json::Text(text) => Value::from(self.shield.mark(text)),
            Json::List(items) => items.iter().map(|item| self.value(item)).collect::<Vec<_>>().into(),
            Json::Object(fields) => Value::from_pairs(
                fields.iter().map(|(name, value)| (self.shield.mark(name), self.value(value))),
            ),
        }
    }
}

/// White space around tags is dropped as transformers drops it.
fn syntax() -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Runs on a stack that deep nesting does not exhaust.
fn on_own_stack<T: Send>(work: impl FnOnce() -> Result<T, TemplateError> + Send) -> Result<T, TemplateError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("hearth-template".into()).stack_size(STACK_BYTES);
        let thread = thread
            .spawn_scoped(scope, work)
            .map_err(|error| TemplateError::new(format!("no thread for the chat template: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(TemplateError::new("the chat template's interpreter panicked")))
    })
}

#[cfg(test)]
mod tests;
