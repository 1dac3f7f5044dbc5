//! Any text as a source: what is accepted is written and read back as the same.
#![no_main]

use hearth_source::{PlainHttp, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for plain in [PlainHttp::Refuse, PlainHttp::Allow] {
        if let Ok(uri) = Uri::parse(text, plain) {
            assert_eq!(Uri::parse(&uri.to_string(), plain), Ok(uri));
        }
    }
});
