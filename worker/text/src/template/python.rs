//! Values written as Python writes them.

use std::borrow::Cow;
use std::fmt::Write;

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::bounds::{Budget, DEPTH, refuse};
use super::shield;

/// `str(value)`. What is made is paid for, but for a text that is there already.
pub(super) fn text<'v>(value: &'v Value, pays: &Budget) -> Result<Cow<'v, str>, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    if value.is_undefined() {
        return Ok(Cow::Borrowed(""));
    }
    let mut out = Paper { text: String::new(), pays };
    out.represent(value, 0)?;
    Ok(Cow::Owned(out.text))
}

/// How `json.dumps` is asked to write.
#[derive(Clone, Debug, Default)]
pub(super) struct JsonStyle {
    /// Spaces a level; absent: all on one line.
    pub(super) indent: Option<usize>,
    /// Whether other characters than those of ASCII are escaped.
    pub(super) ascii: bool,
    /// Whether keys are sorted.
    pub(super) sorted: bool,
    /// Behind an item, and behind a key.
    pub(super) separators: Option<(String, String)>,
}

/// `json.dumps(value)`.
pub(super) fn json(value: &Value, style: &JsonStyle, pays: &Budget) -> Result<String, Error> {
    let mut out = Paper { text: String::new(), pays };
    let separators = match (&style.separators, style.indent) {
        (Some((item, key)), _) => (item.as_str(), key.as_str()),
        (None, None) => (", ", ": "),
        (None, Some(_)) => (",", ": "),
    };
    Json { out: &mut out, style, separators }.value(value, 0)?;
    Ok(out.text)
}

/// A text that is paid for as it grows.
struct Paper<'p> {
    text: String,
    pays: &'p Budget,
}

impl Paper<'_> {
    fn write(&mut self, piece: &str) -> Result<(), Error> {
        self.pays.pay(piece.len())?;
        self.text.push_str(piece);
        Ok(())
    }

    /// `repr(value)`.
    fn represent(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        deep_enough(depth)?;
        match value.kind() {
            ValueKind::Undefined => self.write("Undefined"),
            ValueKind::None => self.write("None"),
            ValueKind::Bool => self.write(if value.is_true() { "True" } else { "False" }),
            ValueKind::Number => self.write(&number(value)),
            ValueKind::String => self.quote(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let tuple = value.is_tuple();
                self.write(if tuple { "(" } else { "[" })?;
                for (index, item) in value.try_iter()?.enumerate() {
                    self.write(if index > 0 { ", " } else { "" })?;
                    self.represent(&item, depth + 1)?;
                }
                let single = tuple && value.len() == Some(1);
                self.write(if single {
                    ",)"
                } else if tuple {
                    ")"
                } else {
                    "]"
                })
            }
            ValueKind::Map => {
                self.write("{")?;
                for (index, key) in value.try_iter()?.enumerate() {
                    self.write(if index > 0 { ", " } else { "" })?;
                    self.represent(&key, depth + 1)?;
                    self.write(": ")?;
                    self.represent(&value.get_item(&key)?, depth + 1)?;
                }
                self.write("}")
            }
            _ => self.write("<object>"),
        }
    }

    /// A text in quotes: single ones, unless it has some and no double ones.
    fn quote(&mut self, text: &str) -> Result<(), Error> {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push(quote);
        for c in text.chars() {
            let escaped = match c {
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                _ if c == quote => {
                    quoted.push('\\');
                    quoted.push(c);
                    continue;
                }
                _ if c.is_control() => {
                    let _ = write!(quoted, "\\x{:02x}", u32::from(c));
                    continue;
                }
                _ => {
                    quoted.push(c);
                    continue;
                }
            };
            quoted.push_str(escaped);
        }
        quoted.push(quote);
        self.write(&quoted)
    }
}

struct Json<'j, 'p> {
    out: &'j mut Paper<'p>,
    style: &'j JsonStyle,
    separators: (&'j str, &'j str),
}

impl Json<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        deep_enough(depth)?;
        match value.kind() {
            ValueKind::None => self.out.write("null"),
            ValueKind::Bool => self.out.write(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                self.out.write(&number(value).replace("inf", "Infinity").replace("nan", "NaN"))
            }
            ValueKind::String => self.quote(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                self.out.write("[")?;
                let mut any = false;
                for item in value.try_iter()? {
                    self.next(std::mem::replace(&mut any, true), depth)?;
                    self.value(&item, depth + 1)?;
                }
                self.close(any, depth, "]")
            }
            ValueKind::Map => {
                let mut keys = value.try_iter()?.collect::<Vec<_>>();
                if self.style.sorted {
                    keys.sort();
                }
                self.out.write("{")?;
                let mut any = false;
                for key in keys {
                    self.next(std::mem::replace(&mut any, true), depth)?;
                    match key.as_str() {
                        Some(text) => self.quote(text)?,
                        None => {
                            self.out.write("\"")?;
                            self.value(&key, depth + 1)?;
                            self.out.write("\"")?;
                        }
                    }
                    self.out.write(self.separators.1)?;
                    self.value(&value.get_item(&key)?, depth + 1)?;
                }
                self.close(any, depth, "}")
            }
            kind => Err(refuse(format!("a value of the kind {kind} cannot be written as JSON"))),
        }
    }

    fn next(&mut self, after_another: bool, depth: usize) -> Result<(), Error> {
        if after_another {
            self.out.write(self.separators.0)?;
        }
        self.line(depth + 1)
    }

    fn close(&mut self, any: bool, depth: usize, bracket: &str) -> Result<(), Error> {
        if any {
            self.line(depth)?;
        }
        self.out.write(bracket)
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        match self.style.indent {
            Some(spaces) => self.out.write(&format!("\n{}", " ".repeat(spaces * depth))),
            None => Ok(()),
        }
    }

    fn quote(&mut self, text: &str) -> Result<(), Error> {
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for c in text.chars() {
            match c {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{c}' => quoted.push_str("\\f"),
                _ if c < ' ' || (self.style.ascii && !c.is_ascii() && !shield::is_internal(c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(quoted, "\\u{unit:04x}");
                    }
                }
                _ => quoted.push(c),
            }
        }
        quoted.push('"');
        self.out.write(&quoted)
    }
}

fn deep_enough(depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(refuse(format!("the chat template writes values that are nested deeper than {DEPTH}")));
    }
    Ok(())
}

/// A number as `repr` writes it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => float(number),
        _ => value.to_string(),
    }
}

/// The shortest digits that read back the same, with an exponent from 1e16 on and
/// below 1e-4.
fn float(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string().to_lowercase();
    }
    let scientific = format!("{number:e}");
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let digits = scientific.split('e').next().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    format!("{number:?}")
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_are_pythons() {
        let expected = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e300, "1.25e+300"),
            (f64::INFINITY, "inf"),
        ];
        for (number, text) in expected {
            assert_eq!(float(number), text);
        }
    }
}
