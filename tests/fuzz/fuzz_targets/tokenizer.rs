//! Any bytes as a `tokenizer.json`, and any text to encode: a refusal, or ids of the
//! vocabulary that can be decoded.
#![no_main]

use std::sync::Once;

use hearth_text::tokenizer::{JsonFiles, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The fuzzer takes a panic for a crash even where it is caught: the library's are.
    // One that is not caught still ends the run, by unwinding out of here.
    static CAUGHT_IS_FINE: Once = Once::new();
    CAUGHT_IS_FINE.call_once(|| std::panic::set_hook(Box::new(|_| {})));

    // The file, a zero, the text.
    let cut = bytes.iter().rposition(|byte| *byte == 0);
    let (file, text) = cut.map_or((bytes, "Hello, world"), |cut| {
        (&bytes[..cut], std::str::from_utf8(&bytes[cut + 1..]).unwrap_or("H\u{e9}llo \u{1f600}"))
    });
    let files = JsonFiles { tokenizer: file, config: None, end_ids: &[0] };
    let Ok(tokenizer) = Tokenizer::from_json(&files) else { return };
    for wrap in [false, true] {
        let Ok(ids) = tokenizer.encode(text, wrap) else { continue };
        assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocabulary()), "{ids:?}");
        let _text = tokenizer.decode(&ids);
    }
});
