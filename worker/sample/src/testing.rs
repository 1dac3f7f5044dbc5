//! Vocabularies for tests.

use crate::Vocabulary;

/// The 26 letters, then a token without text that ends an output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letters;

const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

impl Letters {
    pub(crate) const END: u32 = 26;

    pub(crate) fn ids(text: &str) -> Vec<u32> {
        text.bytes().map(|byte| u32::from(byte - b'a')).collect()
    }

    pub(crate) fn char(id: u32) -> char {
        char::from(LETTERS[id as usize])
    }
}

impl Vocabulary for Letters {
    fn size(&self) -> usize {
        27
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let at = id as usize;
        LETTERS.get(at..=at).unwrap_or_default()
    }

    fn ends(&self) -> &[u32] {
        &[Self::END]
    }
}
