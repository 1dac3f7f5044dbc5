//! Stop sequences.

/// Looks for stop sequences in a text that arrives in pieces, and holds back
/// what could be the beginning of one.
#[derive(Debug)]
pub(crate) struct StopMatcher {
    sequences: Vec<String>,
    /// The longest end of the text so far that begins a sequence.
    held: String,
}

/// What a piece of text brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Scan {
    /// This much can be given out.
    Clear(String),
    /// The text ends with this, before the sequence.
    Stopped {
        /// What can still be given out.
        text: String,
        /// The sequence that was found.
        sequence: String,
    },
}

impl StopMatcher {
    pub(crate) fn new(sequences: Vec<String>) -> Self {
        Self { sequences, held: String::new() }
    }

    pub(crate) fn push(&mut self, text: &str) -> Scan {
        // What is held is shorter than a sequence, so that a match is new.
        self.held.push_str(text);
        if let Some((start, sequence)) = self.first() {
            self.held.truncate(start);
            return Scan::Stopped { text: std::mem::take(&mut self.held), sequence };
        }
        let keep = self.sequences.iter().map(|sequence| overlap(&self.held, sequence)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - keep);
        Scan::Clear(std::mem::replace(&mut self.held, held))
    }

    /// What is left when nothing more comes.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The match that is complete first, the longest of those that end together:
    /// what a reader of single characters would find, however the text was cut.
    fn first(&self) -> Option<(usize, String)> {
        let matches = self.sequences.iter().filter_map(|sequence| {
            let start = self.held.find(sequence.as_str())?;
            Some((start + sequence.len(), start, sequence))
        });
        matches.min().map(|(_, start, sequence)| (start, sequence.clone()))
    }
}

/// Bytes of the longest end of `text` that is a beginning of `sequence`, and
/// not all of it.
fn overlap(text: &str, sequence: &str) -> usize {
    let longest = text.len().min(sequence.len().saturating_sub(1));
    // A match starts with the first byte of a character, in both strings, so it
    // is a character boundary.
    let fits = |n: &usize| text.as_bytes().ends_with(&sequence.as_bytes()[..*n]);
    (1..=longest).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Scan, StopMatcher};

    fn matcher(sequences: &[&str]) -> StopMatcher {
        StopMatcher::new(sequences.iter().map(|s| (*s).to_owned()).collect())
    }

    fn run(sequences: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let mut matcher = matcher(sequences);
        let mut text = String::new();
        for piece in pieces {
            match matcher.push(piece) {
                Scan::Clear(clear) => text += &clear,
                Scan::Stopped { text: last, sequence } => return (text + &last, Some(sequence)),
            }
        }
        (text + &matcher.finish(), None)
    }

    #[test]
    fn text_before_a_stop_is_given_out_and_nothing_of_it() {
        assert_eq!(run(&["END"], &["abEN", "Dcd"]), ("ab".into(), Some("END".into())));
        assert_eq!(run(&["END"], &["abE", "N", "d"]), ("abENd".into(), None));
        assert_eq!(run(&["END"], &["abEN"]), ("abEN".into(), None));
        assert_eq!(run(&[], &["abc"]), ("abc".into(), None));
    }

    #[test]
    fn only_what_could_begin_a_stop_is_held() {
        let mut matcher = matcher(&["\n\n", "é🔥"]);
        assert_eq!(matcher.push("a\n"), Scan::Clear("a".into()));
        assert_eq!(matcher.push("b"), Scan::Clear("\nb".into()));
        assert_eq!(matcher.push("é"), Scan::Clear(String::new()));
        assert_eq!(matcher.push("x"), Scan::Clear("éx".into()));
    }

    #[test]
    fn the_first_complete_match_wins() {
        assert_eq!(run(&["abcd", "bc"], &["xabcd"]), ("xa".into(), Some("bc".into())));
        assert_eq!(run(&["bc", "abc"], &["xabc"]), ("x".into(), Some("abc".into())));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[abc]{0,24}", stops in proptest::collection::vec("[abc]{1,4}", 0..4), cut in 1usize..5) {
            let stops = stops.iter().map(String::as_str).collect::<Vec<_>>();
            let pieces = text.as_bytes().chunks(cut).map(|c| std::str::from_utf8(c).unwrap()).collect::<Vec<_>>();
            let singles = text.as_bytes().chunks(1).map(|c| std::str::from_utf8(c).unwrap()).collect::<Vec<_>>();
            prop_assert_eq!(run(&stops, &pieces), run(&stops, &singles));
        }
    }
}
