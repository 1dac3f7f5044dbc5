//! From generated tokens to the text that a client reads.

use crate::stop::{Scan, StopMatcher};
use crate::utf8::Utf8Stream;

/// The output side of one request: whole characters, and nothing of a stop
/// sequence.
#[derive(Debug)]
pub struct Output {
    characters: Utf8Stream,
    stops: StopMatcher,
}

impl Output {
    /// An output that ends before the first of `stop_sequences`, none of which is empty.
    #[must_use]
    pub fn new(stop_sequences: Vec<String>) -> Self {
        Self { characters: Utf8Stream::default(), stops: StopMatcher::new(stop_sequences) }
    }

    /// Takes the bytes of the next token.
    pub fn push(&mut self, bytes: &[u8]) -> Scan {
        let text = self.characters.push(bytes);
        self.stops.push(&text)
    }

    /// What is left when no token follows. The last character may have been
    /// incomplete, and what stands for it may complete a stop sequence.
    pub fn finish(&mut self) -> Scan {
        let text = self.characters.finish();
        match self.stops.push(&text) {
            Scan::Clear(clear) => Scan::Clear(clear + &self.stops.finish()),
            stopped @ Scan::Stopped { .. } => stopped,
        }
    }
}
