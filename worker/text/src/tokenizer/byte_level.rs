//! Byte-level byte-pair encoding: text is split by patterns, the bytes of each piece
//! are written as printable characters, and pairs of those merge.

use tokenizers::models::bpe::BPE;
use tokenizers::{Model, NormalizedString};

use super::added::{Added, Control, Cut};
use super::bytes::char_of;
use super::split::{Stage, split};

#[derive(Debug)]
pub(super) struct ByteLevel {
    /// Whether characters are composed first (NFC).
    pub(super) nfc: bool,
    /// Tokens that are matched in what was composed.
    pub(super) normalized: Added,
    pub(super) stages: Vec<Stage>,
    pub(super) model: BPE,
}

impl ByteLevel {
    pub(super) fn encode(
        &self,
        text: &str,
        control: Control<'_>,
        ids: &mut Vec<u32>,
    ) -> tokenizers::Result<()> {
        let control = control.of_changed_text();
        let composed = (self.nfc && !text.is_ascii()).then(|| {
            let mut string = NormalizedString::from(text);
            string.nfc();
            string
        });
        let text = composed.as_ref().map_or(text, NormalizedString::get);
        for cut in self.normalized.cut(text, control) {
            match cut {
                Cut::Token(id, _) => ids.push(id),
                Cut::Text(range) => self.merge(&text[range], ids)?,
            }
        }
        Ok(())
    }

    fn merge(&self, text: &str, ids: &mut Vec<u32>) -> tokenizers::Result<()> {
        let mut word = String::new();
        for piece in split(&self.stages, text) {
            word.clear();
            word.extend(piece.bytes().map(char_of));
            ids.extend(self.model.tokenize(&word)?.iter().map(|token| token.id));
        }
        Ok(())
    }
}
