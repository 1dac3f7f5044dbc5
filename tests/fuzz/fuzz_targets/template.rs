//! Any text as a chat template, on a message that is any text too: a refusal, or a text
//! whose shielded places lie in it. Never the end of the process.
#![no_main]

use std::sync::{LazyLock, Once};

use hearth_text::template::ChatTemplate;
use hearth_text::{Chat, ChatMessage, Json};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use libfuzzer_sys::fuzz_target;

static NOW: LazyLock<Zoned> = LazyLock::new(|| Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC));

fuzz_target!(|input: &str| {
    // The fuzzer takes a panic for a crash even where it is caught: the interpreter's
    // are. One that is not caught still ends the run, by unwinding out of here.
    static CAUGHT_IS_FINE: Once = Once::new();
    CAUGHT_IS_FINE.call_once(|| std::panic::set_hook(Box::new(|_| {})));

    let (template, said) = input.rsplit_once('\0').unwrap_or((input, "Hello<|end|>"));
    let named = vec![("eos_token".to_owned(), "<|end|>".to_owned())];
    let Ok(template) = ChatTemplate::new(template, named, ["<|end|>", "<|start|>"]) else { return };
    let mut chat = Chat::new(vec![ChatMessage::new("system", "Be brief."), ChatMessage::new("user", said)]);
    chat.tools = Json::parse(r#"{"name": "now", "parameters": {"type": "object"}}"#).into_iter().collect();
    if let Ok(rendered) = template.render(&chat, &NOW) {
        assert!(rendered.shielded.is_sorted());
        assert!(rendered.shielded.iter().all(|at| *at < rendered.text.len() && rendered.text.is_char_boundary(*at)));
    }
});
