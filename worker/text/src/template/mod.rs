//! The chat template that a model's file carries.
//!
//! Templates are Jinja, written for Python: string and list methods work, and
//! so do the helpers that templates on the hubs expect (`raise_exception`,
//! `strftime_now`, `tojson`). They come from outside, so their work and what they
//! write is limited. What a template keeps in variables is not: the interpreter
//! refuses only what is multiplied to more than 100 MB.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, context};
use thiserror::Error;

use crate::ChatMessage;

/// Steps that a template may take: enough for ten thousand messages through the
/// longest templates in use, and under a second.
const FUEL: u64 = 5_000_000;

/// Bytes that a template may write: several times what the longest contexts hold.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// A template that has been parsed.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

/// What is wrong with a template, or what it says is wrong with the messages.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TemplateError(String);

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
    /// Parses a template. `bos` and `eos` are the texts of the model's start and
    /// end tokens.
    ///
    /// # Errors
    /// The source is not a template.
    pub fn new(source: Arc<str>, bos: String, eos: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, source.to_string())?;
        Ok(Self { environment, bos, eos })
    }

    /// The text of a chat.
    ///
    /// # Errors
    /// What the template says against the messages.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let messages = messages.iter().map(|ChatMessage { role, content }| context! { role, content });
        let template = self.environment.get_template(NAME)?;
        let mut text = Text::default();
        let rendered = template.render_captured_to(
            context! {
                messages => messages.collect::<Vec<Value>>(),
                add_generation_prompt,
                bos_token => &self.bos,
                eos_token => &self.eos,
                tools => Value::from(()),
                documents => Value::from(()),
            },
            &mut text,
        );
        if text.overflowed {
            let message = format!("the chat template writes more than {MAX_TEXT_BYTES} bytes");
            return Err(TemplateError(message));
        }
        drop(rendered?);
        String::from_utf8(text.bytes).map_err(|error| TemplateError(error.to_string()))
    }
}

/// What a template writes, up to [`MAX_TEXT_BYTES`].
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl std::io::Write for Text {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        if piece.len() > MAX_TEXT_BYTES - self.bytes.len() {
            self.overflowed = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: String) -> Result<String, minijinja::Error> {
    let now = jiff::Zoned::now();
    jiff::fmt::strtime::format(format, &now)
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// JSON as Python writes it: characters of HTML stay as they are, and an indent
/// is a number of spaces.
fn tojson(value: Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let refuse =
        |error: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string());
    let indent = options.get::<Option<usize>>("indent")?;
    let mut out = Vec::new();
    match indent {
        Some(spaces) => {
            let spaces = vec![b' '; spaces.min(16)];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&spaces);
            serde::Serialize::serialize(
                &value,
                &mut serde_json::Serializer::with_formatter(&mut out, formatter),
            )
        }
        None => {
            serde::Serialize::serialize(&value, &mut serde_json::Serializer::with_formatter(&mut out, Spaced))
        }
    }
    .map_err(refuse)?;
    Ok(Value::from_safe_string(String::from_utf8_lossy(&out).into_owned()))
}

/// A space after commas and colons.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: std::io::Write + ?Sized>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> std::io::Result<()> {
        w.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::ChatTemplate;
    use crate::ChatMessage;

    fn render(source: &str) -> Result<String, String> {
        let user = |content: &str| ChatMessage { role: "user".into(), content: content.into() };
        let template =
            ChatTemplate::new(source.into(), "<s>".into(), "</s>".into()).map_err(|e| e.to_string())?;
        template.render(&[user(" hi "), user("<b>\"é\"</b>")], true).map_err(|e| e.to_string())
    }

    #[test]
    fn blocks_are_trimmed_and_methods_are_pythons() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n  {% if loop.first %}\n[{{ m['content'].strip() }}]\n  {% endif %}\n{% endfor %}\n{% if add_generation_prompt and not tools %}go{% endif %}";
        assert_eq!(render(source).unwrap(), "<s>\n[hi]\ngo");
    }

    #[test]
    fn an_exception_is_told_as_it_was_raised() {
        assert_eq!(
            render("{{ raise_exception('roles must alternate') }}").unwrap_err(),
            "roles must alternate"
        );
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let expected = r#"{"role": "user", "content": "<b>\"é\"</b>"}"#;
        assert_eq!(render("{{ messages[1] | tojson }}").unwrap(), expected);
    }

    #[test]
    fn the_date_is_formatted() {
        assert!(render("{{ strftime_now('%Y') }}").unwrap().parse::<u32>().unwrap() > 2000);
    }

    #[test]
    fn a_broken_template_names_its_line() {
        assert!(render("a\n{% for %}").unwrap_err().contains('2'));
    }

    #[test]
    fn an_endless_template_runs_out_of_fuel() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(render(source).is_err());
    }

    #[test]
    fn what_is_written_is_limited() {
        let times = |n: u32| {
            format!("{{% set x = 'é' * 500000 %}}{{% for i in range({n}) %}}{{{{ x }}}}{{% endfor %}}")
        };
        assert_eq!(render(&times(16)).unwrap().len(), 16_000_000);
        assert_eq!(render(&times(17)).unwrap_err(), "the chat template writes more than 16777216 bytes");
        assert!(render("{{ 'a' * 200000000 }}").unwrap_err().contains("too large"));
    }
}
