//! How text is split before byte pairs are merged.
//!
//! A file names its split and does not contain it, so the names are a table.
//! The patterns are those that the models were trained with.

use super::TokenizerError;

/// Patterns that are applied one after another: each match becomes a piece of
/// its own, and so does what lies between matches.
#[derive(Debug)]
pub(super) struct Pre {
    pub(super) names: &'static [&'static str],
    pub(super) patterns: &'static [&'static str],
    /// Whether a piece that is in the vocabulary as a whole is taken before any
    /// merge is tried.
    pub(super) whole_words: bool,
}

/// What a file without a name means.
pub(super) const DEFAULT: &str = "default";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const TABLE: &[Pre] = &[
    Pre { names: &["gpt-2"], patterns: &[GPT2], whole_words: false },
    Pre { names: &["smollm"], patterns: &[r"\p{N}", GPT2], whole_words: false },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        whole_words: true,
    },
    Pre {
        names: &["qwen2"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        whole_words: false,
    },
    Pre {
        names: &[DEFAULT],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
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
    use tokenizers::pre_tokenizers::sequence::Sequence;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    };

    use super::{TABLE, find};

    fn pieces(name: &str, text: &str) -> Vec<String> {
        let splits = find(name).unwrap().patterns.iter().map(|pattern| {
            let pattern = SplitPattern::Regex((*pattern).into());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap().into()
        });
        let sequence = Sequence::new(splits.collect());
        let mut text = PreTokenizedString::from(text);
        sequence.pre_tokenize(&mut text).unwrap();
        let splits = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(piece, ..)| piece.to_owned()).collect()
    }

    #[test]
    fn every_pattern_compiles() {
        for name in TABLE.iter().flat_map(|pre| pre.names) {
            assert_eq!(pieces(name, "a b").concat(), "a b");
        }
    }

    #[test]
    fn splits_differ_where_the_models_do() {
        assert_eq!(pieces("gpt-2", "I've 1234  x"), ["I", "'ve", " 1234", " ", " x"]);
        assert_eq!(pieces("smollm", "I've 12  x"), ["I", "'ve", " ", "1", "2", " ", " x"]);
        assert_eq!(pieces("llama-bpe", "I'VE 1234\n\n x"), ["I", "'VE", " ", "123", "4", "\n\n", " x"]);
        assert_eq!(pieces("qwen2", "12"), ["1", "2"]);
        assert_eq!(pieces("default", "a==1234"), ["a", "==", "123", "4"]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = find("mystery").unwrap_err().to_string();
        assert!(message.contains("`mystery`") && message.contains("`llama-bpe`"), "{message}");
    }
}
