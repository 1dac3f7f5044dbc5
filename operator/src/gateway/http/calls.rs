//! Calls in a model's output, in the notations that open models were trained on:
//!
//! - Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, between text;
//! - Mistral: `[TOOL_CALLS]`, then a list of such objects;
//! - Llama 3: the whole output is such an object, or several with `;` between them, and
//!   `parameters` may stand for `arguments`.
//!
//! Text streams through; what may be a call is held back until it is known to be one.

use serde_json::{Deserializer, Map, Value, json};
use uuid::Uuid;

use super::parse::Tools;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const LIST: &str = "[TOOL_CALLS]";
/// Stands before the calls of Llama 3 that run code, and before others by mistake.
const PYTHON: &str = "<|python_tag|>";

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    /// A JSON object.
    pub(super) arguments: String,
}

impl Call {
    /// As OpenAI's API shapes it, with an id of its own.
    pub(super) fn shape(&self) -> Value {
        let Self { name, arguments } = self;
        let id = format!("call_{}", Uuid::new_v4().simple());
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }
}

/// A piece of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Text(String),
    Call(Call),
}

/// Looks for calls in one output.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    /// What may be called. A call of anything else is text.
    tools: Tools,
    state: State,
    held: String,
    /// There was a call.
    called: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    Begin,
    Text,
    /// Behind [`OPEN`].
    Tagged,
    /// JSON up to the end.
    Whole,
}

impl Scanner {
    pub(super) fn new(tools: Tools) -> Self {
        Self { tools, state: State::Begin, held: String::new(), called: false }
    }

    /// Takes the next piece of the output.
    pub(super) fn push(&mut self, text: &str) -> Vec<Seen> {
        self.held.push_str(text);
        let mut seen = Vec::new();
        while self.advance(&mut seen) {}
        seen
    }

    /// What is left at the end of the output.
    pub(super) fn finish(mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Begin | State::Text => self.say(&mut seen, &held),
            // The end of the turn may stand for the closing tag.
            State::Tagged => self.read(&held, &mut seen, &format!("{OPEN}{held}")),
            State::Whole => {
                let json = held.trim_start();
                let json = json.strip_prefix(LIST).or_else(|| json.strip_prefix(PYTHON)).unwrap_or(json);
                self.read(json, &mut seen, &held);
            }
        }
        seen
    }

    /// One step, if what is there is enough for it.
    fn advance(&mut self, seen: &mut Vec<Seen>) -> bool {
        match self.state {
            State::Begin => {
                let start = self.held.trim_start();
                if start.is_empty() {
                    return false;
                }
                let marks = [LIST, PYTHON];
                let whole = start.starts_with('{') || marks.iter().any(|mark| start.starts_with(mark));
                if !whole && marks.iter().any(|mark| mark.starts_with(start)) {
                    return false;
                }
                // A list without its mark, which is a token that has no text.
                let whole = whole || list_of_objects(start);
                if !whole && start.starts_with('[') && start.trim_end().len() == 1 {
                    return false;
                }
                self.state = if whole { State::Whole } else { State::Text };
                !whole
            }
            State::Text => {
                if let Some(at) = self.held.find(OPEN) {
                    let rest = self.held.split_off(at + OPEN.len());
                    let before = std::mem::replace(&mut self.held, rest);
                    self.say(seen, &before[..at]);
                    self.state = State::Tagged;
                    return true;
                }
                let rest = self.held.split_off(self.held.len() - overlap(&self.held, OPEN));
                let before = std::mem::replace(&mut self.held, rest);
                self.say(seen, &before);
                false
            }
            State::Tagged => {
                let Some(at) = self.held.find(CLOSE) else { return false };
                let rest = self.held.split_off(at + CLOSE.len());
                let tagged = std::mem::replace(&mut self.held, rest);
                self.read(&tagged[..at], seen, &format!("{OPEN}{tagged}"));
                self.state = State::Text;
                true
            }
            State::Whole => false,
        }
    }

    fn say(&self, seen: &mut Vec<Seen>, text: &str) {
        // White space between calls is nobody's.
        if !(text.is_empty() || self.called && text.trim().is_empty()) {
            seen.push(Seen::Text(text.to_owned()));
        }
    }

    /// Reads calls, or passes `raw` on where they are none.
    fn read(&mut self, json: &str, seen: &mut Vec<Seen>, raw: &str) {
        match self.calls(json) {
            Some(calls) => {
                let most = match (self.tools.only_one, self.called) {
                    (true, true) => 0,
                    (true, false) => 1,
                    (false, _) => usize::MAX,
                };
                seen.extend(calls.into_iter().take(most).map(Seen::Call));
                self.called = true;
            }
            None => self.say(seen, raw),
        }
    }

    fn calls(&self, json: &str) -> Option<Vec<Call>> {
        let (mut calls, mut rest) = (Vec::new(), json.trim());
        while !rest.is_empty() {
            let mut values = Deserializer::from_str(rest).into_iter::<Value>();
            match values.next()?.ok()? {
                Value::Array(list) => {
                    for call in list {
                        calls.push(self.call(&call)?);
                    }
                }
                call => calls.push(self.call(&call)?),
            }
            rest = rest[values.byte_offset()..].trim_start_matches([' ', '\n', '\r', '\t', ';', ',']);
        }
        (!calls.is_empty()).then_some(calls)
    }

    fn call(&self, value: &Value) -> Option<Call> {
        let name = value.get("name")?.as_str()?;
        if !self.tools.names.iter().any(|known| known == name) {
            return None;
        }
        let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
            None | Some(Value::Null) => Value::Object(Map::new()).to_string(),
            Some(arguments @ Value::Object(_)) => arguments.to_string(),
            // Some write the object as a text.
            Some(Value::String(text)) => {
                serde_json::from_str::<Map<String, Value>>(text).ok()?;
                text.clone()
            }
            Some(_) => return None,
        };
        Some(Call { name: name.to_owned(), arguments })
    }
}

fn list_of_objects(start: &str) -> bool {
    start.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with('{'))
}

/// How many bytes at the end of `text` could be the start of `mark`.
fn overlap(text: &str, mark: &str) -> usize {
    (1..mark.len()).rev().find(|&len| text.ends_with(&mark[..len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(name: &str, arguments: &str) -> Seen {
        Seen::Call(Call { name: name.into(), arguments: arguments.into() })
    }

    fn tools(only_one: bool) -> Tools {
        Tools { names: vec!["add".into(), "now".into()], only_one }
    }

    fn text(text: &str) -> Seen {
        Seen::Text(text.into())
    }

    /// All of an output, in pieces of so many characters, with neighbouring texts joined.
    fn scan(output: &str, piece: usize) -> Vec<Seen> {
        let mut scanner = Scanner::new(tools(false));
        let chars = output.chars().collect::<Vec<_>>();
        let mut all = Vec::new();
        for piece in chars.chunks(piece) {
            all.extend(scanner.push(&piece.iter().collect::<String>()));
        }
        all.extend(scanner.finish());
        let mut joined: Vec<Seen> = Vec::new();
        for seen in all {
            match (joined.last_mut(), seen) {
                (Some(Seen::Text(before)), Seen::Text(more)) => before.push_str(&more),
                (_, seen) => joined.push(seen),
            }
        }
        joined
    }

    #[test]
    fn each_notation_is_read_whatever_the_pieces() {
        let sum = r#"{"a":1}"#;
        let cases = [
            ("plain text", vec![text("plain text")]),
            (
                "Well:\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>",
                vec![text("Well:\n"), call("add", sum)],
            ),
            (
                "<tool_call>{\"name\":\"add\",\"arguments\":{\"a\":1}}</tool_call>\n<tool_call>{\"name\":\"now\"}</tool_call>",
                vec![call("add", sum), call("now", "{}")],
            ),
            ("<tool_call>{\"name\": \"now\", \"arguments\": {}}", vec![call("now", "{}")]),
            ("{\"name\": \"add\", \"parameters\": {\"a\": 1}}", vec![call("add", sum)]),
            (
                "{\"name\": \"now\"}; {\"name\": \"add\", \"parameters\": {\"a\": 1}}",
                vec![call("now", "{}"), call("add", sum)],
            ),
            ("<|python_tag|>{\"name\": \"now\"}", vec![call("now", "{}")]),
            ("[TOOL_CALLS][{\"name\": \"add\", \"arguments\": \"{\\\"a\\\":1}\"}]", vec![call("add", sum)]),
            (
                " [{\"name\": \"add\", \"arguments\": {\"a\": 1}}, {\"name\": \"now\"}]",
                vec![call("add", sum), call("now", "{}")],
            ),
        ];
        for (output, expected) in cases {
            for piece in [1, 2, 3, 7, 1000] {
                assert_eq!(scan(output, piece), expected, "{output:?} by {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_call_is_text() {
        for output in [
            "{\"answer\": 42}",
            "{\"name\": \"unknown\", \"arguments\": {}}",
            "{\"name\": \"add\", \"arguments\": [1]}",
            "{\"name\": \"add\" and more",
            "[1, 2]",
            "[TOOL_CALLS] none",
            "[",
            "a <tool_cal",
            "<tool_call>nothing</tool_call> and more",
            "a < b, <b>bold</b>",
        ] {
            for piece in [1, 2, 1000] {
                assert_eq!(scan(output, piece), [text(output)], "by {piece}");
            }
        }
    }

    #[test]
    fn the_first_call_can_be_the_last() {
        let mut scanner = Scanner::new(tools(true));
        let one = "<tool_call>{\"name\": \"now\"}</tool_call>";
        assert_eq!(scanner.push(&format!("{one}\n{one}")), [call("now", "{}")]);
        assert_eq!(scanner.push(one), []);
        let mut scanner = Scanner::new(tools(true));
        assert_eq!(scanner.push("{\"name\": \"now\"}; {\"name\": \"now\"}"), []);
        assert_eq!(scanner.finish(), [call("now", "{}")]);
    }

    #[test]
    fn text_is_not_held_back() {
        let mut scanner = Scanner::new(tools(false));
        assert_eq!(scanner.push("Let me "), [text("Let me ")]);
        assert_eq!(scanner.push("see <tool"), [text("see ")]);
        assert_eq!(scanner.push("box>"), [text("<toolbox>")]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(output in "[ a{}\\[\\]<>/_tolc\":,é]{0,60}", piece in 1usize..9) {
            let said = scan(&output, piece);
            prop_assert_eq!(said, if output.is_empty() { vec![] } else { vec![text(&output)] });
        }
    }
}
