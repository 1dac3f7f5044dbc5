//! How text is split before pairs are merged.
//!
//! The patterns are those of the models. Theirs is a dialect with look-ahead, which
//! takes an engine that goes back and forth and gives up on long runs of white space.
//! All of them look ahead in one place only: a run of white space leaves its last
//! character to the word behind it. That is done here by hand, so that the rest runs
//! in time proportional to the text.

use regex::Regex;

use super::TokenizerError;

/// The end of a pattern that leaves a space to the next word.
const LEAVES_A_SPACE: [&str; 2] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)"];

/// The part of a pattern that takes runs up to a line break. Files hold it with the
/// characters themselves, too.
const KEEPS_LINES: [&str; 2] = [r"|\s*[\r\n]+", "|\\s*[\r\n]+"];

/// One pattern: each match becomes a piece of its own, and so does what lies between.
#[derive(Debug)]
pub(super) struct Stage {
    regex: Regex,
    /// Whether a run of white space leaves its last character to what follows.
    leaves_a_space: bool,
    /// Whether runs that end in a line break are matched as a whole.
    keeps_lines: bool,
}

impl Stage {
    pub(super) fn new(pattern: &str) -> Result<Self, TokenizerError> {
        let head = LEAVES_A_SPACE.iter().find_map(|end| pattern.strip_suffix(end));
        let plain = head.map_or_else(|| pattern.to_owned(), |head| format!(r"{head}|\s+"));
        Ok(Self {
            regex: Regex::new(&plain).map_err(TokenizerError::inconsistent)?,
            leaves_a_space: head.is_some(),
            keeps_lines: KEEPS_LINES.iter().any(|part| pattern.contains(part)),
        })
    }

    fn split<'t>(&self, text: &'t str, pieces: &mut Vec<&'t str>) {
        let (mut done, mut from) = (0, 0);
        while let Some(found) = self.regex.find_at(text, from) {
            let end = self.end(text, found.start(), found.end());
            if end == found.start() {
                // Nothing was matched: look behind the next character.
                let Some(next) = text[end..].chars().next() else { break };
                from = end + next.len_utf8();
                continue;
            }
            pieces.extend([&text[done..found.start()], &text[found.start()..end]]);
            (done, from) = (end, end);
        }
        pieces.push(&text[done..]);
    }

    /// Where a match really ends.
    fn end(&self, text: &str, start: usize, end: usize) -> usize {
        let run = &text[start..end];
        let last = match run.char_indices().next_back() {
            Some((at, _)) if at > 0 => start + at,
            _ => return end,
        };
        let whole = self.keeps_lines && run.ends_with(['\n', '\r']);
        let leaves = self.leaves_a_space && end < text.len() && !whole && run.trim_start().is_empty();
        if leaves { last } else { end }
    }
}

/// The pieces of a text, stage after stage; none is empty.
pub(super) fn split<'t>(stages: &[Stage], text: &'t str) -> Vec<&'t str> {
    let mut pieces = vec![text];
    for stage in stages {
        let mut next = Vec::with_capacity(pieces.len() * 2);
        pieces.iter().for_each(|piece| stage.split(piece, &mut next));
        next.retain(|piece| !piece.is_empty());
        pieces = next;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    };

    use super::super::pre::TABLE;
    use super::{Stage, split};

    type Both = (&'static [&'static str], Vec<Stage>, Vec<Split>);

    /// All splits, and the same patterns in an engine that looks ahead.
    static BOTH: LazyLock<Vec<Both>> = LazyLock::new(|| {
        let looking = |pattern: &&str| {
            let pattern = SplitPattern::Regex((*pattern).into());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap()
        };
        let both = TABLE.iter().map(|pre| {
            let stages = pre.patterns.iter().map(|pattern| Stage::new(pattern).unwrap());
            (pre.names, stages.collect(), pre.patterns.iter().map(looking).collect())
        });
        both.collect()
    });

    fn with_look_ahead(splits: &[Split], text: &str) -> Vec<String> {
        let mut string = PreTokenizedString::from(text);
        splits.iter().for_each(|split| split.pre_tokenize(&mut string).unwrap());
        let splits = string.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(piece, ..)| piece.to_owned()).filter(|piece| !piece.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn pieces_are_those_of_an_engine_that_looks_ahead(text in "([a-zA-Z0-9'é中\u{3000} \t\n\r.,!/-]|[ \n\r]{1,4}|\\PC){0,24}") {
            for (names, stages, splits) in &*BOTH {
                let mut pieces = split(stages, &text);
                pieces.retain(|piece| !piece.is_empty());
                prop_assert_eq!(pieces, with_look_ahead(splits, &text), "{:?}", names);
            }
        }
    }

    #[test]
    fn long_runs_of_white_space_are_split_like_short_ones() {
        let pre = super::super::pre::find("llama-bpe").unwrap();
        let stages = pre.patterns.iter().map(|p| Stage::new(p).unwrap()).collect::<Vec<_>>();
        let text = format!("{}x", " ".repeat(3_000_000));
        let pieces = split(&stages, &text);
        assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [2_999_999, 2]);
    }
}
