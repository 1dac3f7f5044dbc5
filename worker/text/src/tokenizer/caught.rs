//! What the library that reads `tokenizer.json` does not check.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The library takes parts of a file that do not fit together, such as a template that
/// names a token which is not there, and panics where it meets them. The file comes
/// from outside, so that is its mistake and not the process's end.
///
/// # Errors
/// `work` panicked: what it said.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // The library's own caches stay whole: it fills them behind locks that it lets go.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("its parts do not fit together ({})", said.unwrap_or("the library panicked"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::tokenizer::{JsonFiles, Tokenizer};

    #[test]
    fn a_word_that_is_not_known_is_one_token_however_long() {
        let file = json!({
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "hello": 1}},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
        });
        let bytes = file.to_string();
        let files = JsonFiles { tokenizer: bytes.as_bytes(), config: None, end_ids: &[] };
        let tokenizer = Tokenizer::from_json(&files).unwrap();
        let word = "x".repeat(500);
        assert_eq!(tokenizer.encode(&word, false).unwrap(), [0]);
        assert!(tokenizer.at_least(&word) <= 1);
    }

    #[test]
    fn a_template_that_names_no_token_is_refused() {
        let build = |named: &str| {
            let file = json!({
                "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 9, "vocab": {"[UNK]": 0, "[CLS]": 1}},
                "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
                "post_processor": {"type": "TemplateProcessing", "pair": [],
                    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}],
                    "special_tokens": {named: {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}}},
            });
            let bytes = file.to_string();
            let files = JsonFiles { tokenizer: bytes.as_bytes(), config: None, end_ids: &[] };
            Tokenizer::from_json(&files).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(build("[CLS]"), Ok(()));
        let error = build("[OTHER]").unwrap_err();
        assert!(error.contains("do not fit together"), "{error}");
    }
}
