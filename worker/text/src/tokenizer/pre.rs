//! The splits that files name.
//!
//! A GGUF file names its split and does not contain it, so the names are a table.
//! Some name less than their models were trained with: where a family's own
//! tokenizer also composes characters, so does this one.

use super::TokenizerError;

/// Patterns that are applied one after another: each match becomes a piece of
/// its own, and so does what lies between matches.
#[derive(Debug)]
pub(super) struct Pre {
    pub(super) names: &'static [&'static str],
    pub(super) patterns: &'static [&'static str],
    /// Whether characters are composed first (NFC).
    pub(super) nfc: bool,
    /// Whether a piece that is in the vocabulary as a whole is taken before any
    /// merge is tried.
    pub(super) whole_words: bool,
}

/// What a file without a name means.
pub(super) const DEFAULT: &str = "default";

/// Of byte-level pre-tokenizers that say no pattern.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) const TABLE: &[Pre] = &[
    Pre {
        names: &["gpt-2", "phi-2", "mpt", "jais", "roberta-bpe"],
        patterns: &[GPT2],
        nfc: false,
        whole_words: false,
    },
    Pre { names: &["olmo"], patterns: &[GPT2], nfc: true, whole_words: false },
    Pre {
        names: &["smollm", "starcoder", "refact", "codeshell"],
        patterns: &[r"\p{N}", GPT2],
        nfc: false,
        whole_words: false,
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        patterns: &[LLAMA3],
        nfc: false,
        whole_words: true,
    },
    Pre { names: &["dbrx", "smaug-bpe", "chatglm-bpe"], patterns: &[LLAMA3], nfc: false, whole_words: false },
    Pre {
        names: &["qwen2", "deepseek-r1-qwen"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        nfc: true,
        whole_words: false,
    },
    Pre {
        names: &["qwen35"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        nfc: true,
        whole_words: false,
    },
    Pre {
        names: &["tekken"],
        patterns: &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        nfc: false,
        whole_words: true,
    },
    Pre {
        names: &["gpt-4o", "llama4"],
        patterns: &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        nfc: false,
        whole_words: true,
    },
    Pre {
        names: &["deepseek-v3", "hunyuan-dense"],
        patterns: &[
            r"\p{N}{1,3}",
            "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        ],
        nfc: false,
        whole_words: false,
    },
    Pre {
        names: &[DEFAULT],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        nfc: false,
        whole_words: false,
    },
];

pub(super) fn find(name: &str) -> Result<&'static Pre, TokenizerError> {
    TABLE.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        let known = TABLE.iter().flat_map(|pre| pre.names).map(|name| format!("`{name}`"));
        TokenizerError::UnknownPre { found: name.into(), known: known.collect::<Vec<_>>().join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::super::split::{Stage, split};
    use super::find;

    fn pieces<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let stages = find(name).unwrap().patterns.iter().map(|p| Stage::new(p).unwrap()).collect::<Vec<_>>();
        split(&stages, text)
    }

    #[test]
    fn splits_differ_where_the_models_do() {
        assert_eq!(pieces("gpt-2", "I've 1234  x"), ["I", "'ve", " 1234", " ", " x"]);
        assert_eq!(pieces("smollm", "I've 12  x"), ["I", "'ve", " ", "1", "2", " ", " x"]);
        assert_eq!(pieces("llama-bpe", "I'VE 1234\n\n x"), ["I", "'VE", " ", "123", "4", "\n\n", " x"]);
        assert_eq!(pieces("qwen2", "12"), ["1", "2"]);
        assert_eq!(pieces("tekken", "aBc/\n"), ["a", "Bc", "/\n"]);
        assert_eq!(pieces("gpt-4o", "I'll"), ["I'll"]);
        assert_eq!(pieces("deepseek-v3", "a中1234"), ["a", "中", "123", "4"]);
        assert_eq!(pieces("default", "a==1234"), ["a", "==", "123", "4"]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = find("mystery").unwrap_err().to_string();
        assert!(message.contains("`mystery`") && message.contains("`llama-bpe`"), "{message}");
    }
}
