//! What a request says about the form of its output.

use serde_json::Value;

use crate::Wrong;

/// Bytes that a JSON schema may have.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Levels that a JSON schema, or the brackets of a Lark grammar, may have.
pub const MAX_NESTING: usize = 64;
/// Bytes that a regular expression may have.
pub const MAX_REGEX_BYTES: usize = 8 << 10;
/// Bytes that a Lark grammar may have.
pub const MAX_LARK_BYTES: usize = 64 << 10;
/// Texts among which a request may have one chosen.
pub const MAX_CHOICES: usize = 1024;
/// Bytes that all choices together may have.
pub const MAX_CHOICES_BYTES: usize = 64 << 10;

/// The form of an output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// JSON that a schema describes; the order of properties is the schema's.
    JsonSchema(String),
    /// A JSON object, whatever is in it.
    JsonObject,
    /// A text that a regular expression matches as a whole.
    Regex(String),
    /// A text of a grammar in the Lark-like notation of llguidance.
    Lark(String),
    /// One of these texts.
    Choice(Vec<String>),
}

impl Grammar {
    /// The field that it came in, as the wire contract names it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "constraint.json_schema",
            Self::JsonObject => "constraint.json_object",
            Self::Regex(_) => "constraint.regex",
            Self::Lark(_) => "constraint.lark",
            Self::Choice(_) => "constraint.choice",
        }
    }

    /// Looks at sizes, and at what can be read without a model.
    ///
    /// # Errors
    /// It is empty, too large, too deep, or no JSON.
    pub fn check(&self) -> Result<(), Wrong> {
        let wrong = |value: String, message: &str| Err(Wrong::new(self.field(), value, message));
        let sized = |text: &str, most: usize| {
            if text.trim().is_empty() {
                return wrong("empty".into(), "give one, or leave the field out");
            }
            if text.len() > most {
                return wrong(format!("{} bytes long", text.len()), &format!("give at most {most}"));
            }
            Ok(())
        };
        let shallow = |depth: usize| {
            if depth > MAX_NESTING {
                let most = format!("nest at most {MAX_NESTING}");
                return wrong(format!("more than {MAX_NESTING} levels deep"), &most);
            }
            Ok(())
        };
        match self {
            Self::JsonObject => Ok(()),
            Self::JsonSchema(text) => {
                sized(text, MAX_SCHEMA_BYTES)?;
                // Before it is parsed: parsing recurses.
                shallow(brackets(text, Quotes::Json))?;
                match serde_json::from_str::<Value>(text) {
                    Ok(Value::Object(_) | Value::Bool(_)) => Ok(()),
                    Ok(_) => wrong("no schema".into(), "give a JSON object"),
                    Err(error) => wrong(format!("no JSON ({error})"), "give a JSON schema"),
                }
            }
            Self::Regex(text) => sized(text, MAX_REGEX_BYTES),
            Self::Lark(text) => {
                sized(text, MAX_LARK_BYTES)?;
                shallow(brackets(text, Quotes::Lark))
            }
            Self::Choice(texts) => {
                let bytes = texts.iter().map(String::len).sum::<usize>();
                if texts.is_empty() {
                    return wrong("empty".into(), "give at least one text, or leave the field out");
                }
                if texts.len() > MAX_CHOICES {
                    return wrong(format!("{} texts", texts.len()), &format!("give at most {MAX_CHOICES}"));
                }
                if bytes > MAX_CHOICES_BYTES {
                    return wrong(
                        format!("{bytes} bytes long"),
                        &format!("give at most {MAX_CHOICES_BYTES}"),
                    );
                }
                match texts.iter().position(String::is_empty) {
                    Some(at) => wrong(format!("empty at index {at}"), "leave empty texts out"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// Strings.
    Json,
    /// Strings, regular expressions between slashes, and comments.
    Lark,
}

/// The greatest number of brackets that are open at a time, outside of quotes.
fn brackets(text: &str, quotes: Quotes) -> usize {
    let (mut open, mut most) = (0usize, 0);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'(' | b'[' | b'{' => {
                open += 1;
                most = most.max(open);
            }
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'/' if quotes == Quotes::Lark && bytes.peek() == Some(&b'/') => {
                // A comment, to the end of the line.
                let _ = bytes.find(|byte| *byte == b'\n');
            }
            b'"' => skip(&mut bytes, byte),
            b'/' if quotes == Quotes::Lark => skip(&mut bytes, byte),
            _ => {}
        }
    }
    most
}

/// Skips a quotation. One that its line does not close is none: what follows
/// counts.
fn skip(bytes: &mut (impl Iterator<Item = u8> + Clone), quote: u8) {
    let mut ahead = bytes.clone();
    while let Some(byte) = ahead.next() {
        match byte {
            b'\\' => {
                ahead.next();
            }
            b'\n' => return,
            byte if byte == quote => {
                *bytes = ahead;
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(grammar: &Grammar) -> Option<String> {
        grammar.check().err().map(|wrong| wrong.to_string())
    }

    #[test]
    fn what_is_fine_passes() {
        for grammar in [
            Grammar::JsonObject,
            Grammar::JsonSchema(r#"{"type": "object"}"#.into()),
            Grammar::JsonSchema("true".into()),
            Grammar::Regex("a|b".into()),
            Grammar::Lark(r#"start: "(" /[(]/ ")" // ((((("#.into()),
            Grammar::Choice(vec!["yes".into(), "no".into()]),
        ] {
            assert_eq!(said(&grammar), None);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let schema = |text: &str| said(&Grammar::JsonSchema(text.into())).unwrap();
        assert_eq!(
            schema("{\"type\":\n x}"),
            "`constraint.json_schema` is no JSON (expected value at line 2 column 2): give a JSON schema"
        );
        assert!(schema("[1]").contains("no schema"));
        assert!(schema(" ").contains("empty"));
        assert!(schema(&"{\"a\":".repeat(MAX_NESTING + 1)).contains("64 levels"));
        assert!(schema(&format!("\"{}\"", "a".repeat(MAX_SCHEMA_BYTES))).contains("65538 bytes"));
        assert!(said(&Grammar::Regex("a".repeat(MAX_REGEX_BYTES + 1))).unwrap().contains("8193 bytes"));
        assert!(said(&Grammar::Lark(format!("start: {}", "(".repeat(65)))).unwrap().contains("64 levels"));
        assert!(said(&Grammar::Choice(vec![])).unwrap().contains("empty"));
        assert!(said(&Grammar::Choice(vec!["a".into(), String::new()])).unwrap().contains("at index 1"));
        assert!(said(&Grammar::Choice(vec!["a".into(); 1025])).unwrap().contains("1025 texts"));
    }

    #[test]
    fn brackets_are_counted_outside_of_quotes() {
        assert_eq!(brackets(r#"{"a": [{"b": "((("}]}"#, Quotes::Json), 3);
        assert_eq!(brackets(r#"a: ("x" | /(((/) "\"((""#, Quotes::Lark), 1);
        // In JSON a slash is nothing, and a quotation that does not end is none.
        assert_eq!(brackets("/(/(", Quotes::Json), 2);
        assert_eq!(brackets("\"((\n((", Quotes::Lark), 4);
    }
}
