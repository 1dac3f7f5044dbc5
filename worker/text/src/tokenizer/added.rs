//! Tokens that are matched in a text as a whole, before anything is split or merged.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::TokenizerError;

/// One such token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) text: String,
    /// Whether it steers the model rather than stands for text.
    pub(super) control: bool,
    /// Only between characters that are not of a word.
    pub(super) single_word: bool,
    /// Takes the white space before it.
    pub(super) lstrip: bool,
    /// Takes the white space behind it.
    pub(super) rstrip: bool,
}

/// Where control tokens may be read out of a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Control<'a> {
    /// Everywhere.
    Anywhere,
    /// Nowhere: what they are written as is text.
    Nowhere,
    /// Everywhere but at these places: sorted offsets, in bytes.
    Except(&'a [usize]),
}

impl Control<'_> {
    /// For a text that has been changed since: offsets are those of the text as it
    /// was, and none is left.
    pub(super) fn of_changed_text(self) -> Control<'static> {
        match self {
            Self::Anywhere => Control::Anywhere,
            Self::Nowhere | Self::Except(_) => Control::Nowhere,
        }
    }

    fn allows(self, start: usize) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Nowhere => false,
            Self::Except(places) => places.binary_search(&start).is_err(),
        }
    }
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Text(Range<usize>),
    Token(u32, Range<usize>),
}

/// Finds added tokens: the leftmost first, of those the longest.
#[derive(Debug, Default)]
pub(super) struct Added {
    automaton: Option<AhoCorasick>,
    tokens: Vec<AddedToken>,
}

impl Added {
    /// A finder of `tokens`; those without text are left out.
    pub(super) fn new(mut tokens: Vec<AddedToken>) -> Result<Self, TokenizerError> {
        tokens.retain(|token| !token.text.is_empty());
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        let texts = tokens.iter().map(|token| token.text.as_bytes());
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts);
        Ok(Self { automaton: Some(automaton.map_err(TokenizerError::inconsistent)?), tokens })
    }

    /// What the control tokens are written as.
    pub(super) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter(|token| token.control).map(|token| token.text.as_str())
    }

    /// Cuts a text at its added tokens. The parts are in order and leave nothing out.
    pub(super) fn cut(&self, text: &str, control: Control<'_>) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let mut done = 0;
        let matches = self.automaton.iter().flat_map(|automaton| automaton.find_iter(text));
        for found in matches {
            let token = &self.tokens[found.pattern().as_usize()];
            if token.control && !control.allows(found.start()) {
                continue;
            }
            let (before, after) = (&text[..found.start()], &text[found.end()..]);
            if token.single_word && (before.ends_with(is_word) || after.starts_with(is_word)) {
                continue;
            }
            let start = if token.lstrip { before.trim_end().len().max(done) } else { found.start() };
            let end = if token.rstrip { text.len() - after.trim_start().len() } else { found.end() };
            if start < done {
                // The token before took the white space that this one begins with.
                continue;
            }
            if done < start {
                cuts.push(Cut::Text(done..start));
            }
            cuts.push(Cut::Token(token.id, start..end));
            done = end;
        }
        if done < text.len() {
            cuts.push(Cut::Text(done..text.len()));
        }
        cuts
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::{Added, AddedToken, Control, Cut};

    fn token(id: u32, text: &str) -> AddedToken {
        AddedToken { id, text: text.into(), control: true, ..AddedToken::default() }
    }

    fn cut(added: &Added, text: &str, control: Control<'_>) -> Vec<String> {
        let show = |cut| match cut {
            Cut::Text(range) => text[range].to_owned(),
            Cut::Token(id, range) => format!("{id}:{}", &text[range]),
        };
        added.cut(text, control).into_iter().map(show).collect()
    }

    #[test]
    fn the_leftmost_and_longest_token_is_taken() {
        let added = Added::new(vec![token(1, "<s>"), token(2, "<s><s>"), token(3, "")]).unwrap();
        assert_eq!(cut(&added, "a<s><s><s>b", Control::Anywhere), ["a", "2:<s><s>", "1:<s>", "b"]);
        assert_eq!(cut(&added, "", Control::Anywhere), [""; 0]);
    }

    #[test]
    fn control_tokens_are_text_where_they_are_not_allowed() {
        let user = AddedToken { control: false, ..token(2, "<t>") };
        let added = Added::new(vec![token(1, "<s>"), user]).unwrap();
        assert_eq!(cut(&added, "<s><t><s>", Control::Nowhere), ["<s>", "2:<t>", "<s>"]);
        assert_eq!(cut(&added, "<s><t><s>", Control::Except(&[0])), ["<s>", "2:<t>", "1:<s>"]);
    }

    #[test]
    fn tokens_take_white_space_and_want_words_of_their_own() {
        let left = AddedToken { lstrip: true, ..token(1, "<m>") };
        let right = AddedToken { rstrip: true, ..token(2, "<r>") };
        let word = AddedToken { single_word: true, ..token(3, "w") };
        let added = Added::new(vec![left, right, word]).unwrap();
        assert_eq!(cut(&added, "a  <m> b", Control::Anywhere), ["a", "1:  <m>", " b"]);
        assert_eq!(cut(&added, "a <r>  <m>b", Control::Anywhere), ["a ", "2:<r>  ", "1:<m>", "b"]);
        assert_eq!(cut(&added, "w aw w_ -w", Control::Anywhere), ["3:w", " aw w_ -", "3:w"]);
    }
}
