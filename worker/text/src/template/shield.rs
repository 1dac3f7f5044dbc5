//! What clients wrote, kept apart from what the template wrote.
//!
//! A template joins both into one text. Where a client's text spells a control token,
//! a mark is put behind its first character before the template sees it; the marks
//! are taken out of what was rendered, and leave the places that are text whatever
//! they spell. A mark is one character that Unicode sets aside for the inside of
//! programs; a text that holds such characters itself gets them back.
//!
//! A mark is also put where a client's text ends with the beginning of a control
//! token, because the next thing that is written may be another client's text that
//! ends it. What a template itself cuts and glues together is out of sight: a template
//! that deletes characters from the middle of a message can still make a token of what
//! is left.

use aho_corasick::AhoCorasick;

use super::TemplateError;

/// Behind a character that begins no control token.
const MARK: char = '\u{fdd0}';

/// Before [`MARKS_NAME`] or [`ESCAPES_NAME`]: a character that was in the text.
const ESCAPE: char = '\u{fdd1}';
const MARKS_NAME: char = '0';
const ESCAPES_NAME: char = '1';

/// A chat as one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Where no control token begins, whatever the text spells: offsets in bytes, sorted.
    pub shielded: Vec<usize>,
}

/// Finds the beginnings of control tokens.
#[derive(Debug)]
pub(super) struct Shield {
    tokens: AhoCorasick,
    texts: Vec<String>,
    /// Bytes that a token begins with.
    first: Box<[bool; 256]>,
    longest: usize,
}

impl Shield {
    pub(super) fn new<'c>(control: impl IntoIterator<Item = &'c str>) -> Result<Self, TemplateError> {
        let texts =
            control.into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let tokens = AhoCorasick::new(&texts).map_err(|error| TemplateError::new(error.to_string()))?;
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        let mut first = Box::new([false; 256]);
        texts.iter().filter_map(|text| text.bytes().next()).for_each(|byte| first[usize::from(byte)] = true);
        Ok(Self { tokens, texts, first, longest })
    }

    /// A client's text, marked.
    pub(super) fn mark(&self, text: &str) -> String {
        let mut begins =
            self.tokens.find_overlapping_iter(text).map(|found| found.start()).collect::<Vec<_>>();
        self.partial(text, &mut begins);
        // Templates trim what they are given.
        self.partial(text.trim_end(), &mut begins);
        begins.sort_unstable();
        begins.dedup();
        let mut begins = begins.into_iter().peekable();
        let mut marked = String::with_capacity(text.len() + 4);
        for (at, c) in text.char_indices() {
            match c {
                MARK => marked.extend([ESCAPE, MARKS_NAME]),
                ESCAPE => marked.extend([ESCAPE, ESCAPES_NAME]),
                _ => marked.push(c),
            }
            if begins.next_if_eq(&at).is_some() {
                marked.push(MARK);
            }
        }
        marked
    }

    /// Ends of the text that begin a control token.
    fn partial(&self, text: &str, begins: &mut Vec<usize>) {
        let from = text.len().saturating_sub(self.longest);
        let may = (from..text.len()).filter(|at| self.first[usize::from(text.as_bytes()[*at])]);
        let ends = may.filter_map(|at| Some((at, text.get(at..)?)));
        begins
            .extend(ends.filter(|(_, end)| self.texts.iter().any(|t| t.starts_with(end))).map(|(at, _)| at));
    }

    /// Takes the marks out again.
    pub(super) fn lift(marked: &str) -> Rendered {
        let mut rendered = Rendered { text: String::with_capacity(marked.len()), shielded: Vec::new() };
        let mut last = None;
        let mut characters = marked.chars().peekable();
        while let Some(c) = characters.next() {
            let c = match c {
                MARK => {
                    rendered.shielded.extend(last);
                    continue;
                }
                ESCAPE if characters.next_if_eq(&MARKS_NAME).is_some() => MARK,
                ESCAPE if characters.next_if_eq(&ESCAPES_NAME).is_some() => ESCAPE,
                _ => c,
            };
            last = Some(rendered.text.len());
            rendered.text.push(c);
        }
        rendered.shielded.dedup();
        rendered
    }
}

/// Whether a character is one of this module's, and no writer's business.
pub(super) fn is_internal(c: char) -> bool {
    matches!(c, MARK | ESCAPE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Shield;

    const TOKENS: [&str; 4] = ["<s>", "</s>", "<|end|>", "ab"];

    fn shield() -> Shield {
        Shield::new(TOKENS).unwrap()
    }

    #[test]
    fn text_without_tokens_is_not_marked() {
        assert_eq!(shield().mark("a < b, <t>"), "a < b, <t>");
        assert_eq!(Shield::new([]).unwrap().mark("<s>"), "<s>");
    }

    #[test]
    fn tokens_and_beginnings_at_the_end_are_marked() {
        let rendered = Shield::lift(&shield().mark("x<s>y<|en  "));
        assert_eq!(rendered.text, "x<s>y<|en  ");
        assert_eq!(rendered.shielded, [1, 5]);
    }

    proptest! {
        #[test]
        fn lifting_gives_the_text_back(text in "[<>/s|endab\u{fdd0}\u{fdd1}01 é]{0,24}") {
            prop_assert_eq!(Shield::lift(&shield().mark(&text)).text, text);
        }

        /// However texts are put side by side, every token in them begins at a shielded place.
        #[test]
        fn no_token_begins_in_a_clients_text(texts in proptest::collection::vec("[<>/s|endab ]{0,6}", 0..6)) {
            let shield = shield();
            let rendered = Shield::lift(&texts.iter().map(|text| shield.mark(text)).collect::<String>());
            for (at, _) in rendered.text.char_indices() {
                if TOKENS.iter().any(|token| rendered.text[at..].starts_with(token)) {
                    prop_assert!(rendered.shielded.contains(&at), "{:?} {at}", rendered);
                }
            }
        }
    }
}
