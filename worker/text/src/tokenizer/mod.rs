//! Text to tokens and back, as the model's files say.
//!
//! Encoding: control and user-defined tokens are cut out of the text first
//! ([`added`]); what lies between goes one of three ways. [`byte_level`] splits by
//! patterns and merges bytes, [`sentencepiece`] merges by scores, [`general`] takes
//! the steps that a `tokenizer.json` lists, for everything else. Decoding is a table:
//! every token stands for fixed bytes, so a stream is decoded by concatenation and
//! only has to be cut at whole characters. What a table cannot do is left out: no
//! clean-up that moves punctuation to the word before it, because that word may have
//! been given out.

mod added;
mod byte_level;
mod bytes;
mod caught;
mod error;
mod general;
mod gguf;
mod json;
mod pieces;
mod pre;
mod sentencepiece;
mod split;

use hearth_model::arch::TokenizerSpec;

use crate::template::Rendered;
use added::{Added, Control, Cut};
use byte_level::ByteLevel;
use caught::caught;
use general::General;
use pieces::Pieces;
use sentencepiece::SentencePiece;

pub use error::{EncodeError, TokenizerError};
pub use json::JsonFiles;

/// A tokenizer that was built from a model's files.
#[derive(Debug)]
pub struct Tokenizer {
    added: Added,
    way: Way,
    pieces: Pieces,
    /// What a prompt begins and ends with.
    wrap: (Vec<u32>, Vec<u32>),
    end_of_generation: Vec<u32>,
    /// Names by which templates know tokens, and their texts.
    named: Vec<(String, String)>,
    longest: usize,
}

/// How text without added tokens becomes ids.
#[derive(Debug)]
enum Way {
    ByteLevel(Box<ByteLevel>),
    SentencePiece(SentencePiece),
    General(Box<General>),
}

impl Tokenizer {
    /// Builds the tokenizer that the header of a GGUF file describes.
    ///
    /// # Errors
    /// See [`TokenizerError`].
    pub fn new(spec: &TokenizerSpec) -> Result<Self, TokenizerError> {
        gguf::build(spec)
    }

    /// Builds the tokenizer that a `tokenizer.json` and its neighbours describe.
    ///
    /// # Errors
    /// See [`TokenizerError`].
    pub fn from_json(files: &JsonFiles<'_>) -> Result<Self, TokenizerError> {
        caught(|| json::build(files)).map_err(TokenizerError::inconsistent)?
    }

    /// Number of ids.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// The bytes that a token stands for behind other tokens; none for a control
    /// token and for an id that is not in the vocabulary.
    #[must_use]
    pub fn bytes_of(&self, id: u32) -> &[u8] {
        self.pieces.get(id)
    }

    /// Whether a generation ends with this token.
    #[must_use]
    pub fn ends_generation(&self, id: u32) -> bool {
        self.end_of_generation.contains(&id)
    }

    /// The tokens that a generation ends with.
    #[must_use]
    pub fn end_of_generation(&self) -> &[u32] {
        &self.end_of_generation
    }

    /// Names by which templates know tokens (`bos_token`), and the tokens' texts.
    #[must_use]
    pub fn named(&self) -> &[(String, String)] {
        &self.named
    }

    /// What the tokens that steer the model are written as.
    pub fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.added.control_texts()
    }

    /// The least number of tokens that `text` can come to. Much cheaper than
    /// encoding, and enough to refuse what cannot fit.
    #[must_use]
    pub fn at_least(&self, text: &str) -> u64 {
        match self.way {
            Way::ByteLevel(_) | Way::SentencePiece(_) => (text.len() / self.longest) as u64,
            // A word that is not known may be one token, however long it is.
            Way::General(_) => 0,
        }
    }

    /// The tokens of `text`. Control tokens that are written out in it count as
    /// what they name. With `wrap`, the start and end tokens are added that the
    /// files ask for.
    ///
    /// # Errors
    /// The text cannot be written in this vocabulary.
    pub fn encode(&self, text: &str, wrap: bool) -> Result<Vec<u32>, EncodeError> {
        let mut ids = self.run(text, Control::Anywhere)?;
        if wrap {
            let (before, after) = &self.wrap;
            if !ids.starts_with(before) {
                ids.splice(..0, before.iter().copied());
            }
            ids.extend(after);
        }
        Ok(ids)
    }

    /// The tokens of `text`, none of which is a control token.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        self.run(text, Control::Nowhere)
    }

    /// The tokens of a rendered chat. Only what the template wrote becomes a control
    /// token; what the messages said stays text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<Vec<u32>, EncodeError> {
        self.run(&rendered.text, Control::Except(&rendered.shielded))
    }

    fn run(&self, text: &str, control: Control<'_>) -> Result<Vec<u32>, EncodeError> {
        caught(|| self.ids(text, control)).map_err(EncodeError::new)?
    }

    fn ids(&self, text: &str, control: Control<'_>) -> Result<Vec<u32>, EncodeError> {
        // English is about four bytes a token.
        let mut ids = Vec::with_capacity(text.len() / 4 + 2);
        let cuts = self.added.cut(text, control);
        if let Way::General(general) = &self.way {
            general.encode(text, &cuts, control, &mut ids).map_err(EncodeError::new)?;
            return Ok(ids);
        }
        for cut in cuts {
            match (cut, &self.way) {
                (Cut::Token(id, _), _) => ids.push(id),
                (Cut::Text(range), Way::ByteLevel(way)) => {
                    way.encode(&text[range], control, &mut ids).map_err(EncodeError::new)?;
                }
                (Cut::Text(range), Way::SentencePiece(way)) => way.encode(&text[range], &mut ids),
                (Cut::Text(_), Way::General(_)) => {}
            }
        }
        Ok(ids)
    }

    /// The text of `ids` on their own; bytes that are not UTF-8 become U+FFFD. Where
    /// the vocabulary puts a space before every text, that space is left out.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes = ids.iter().flat_map(|&id| self.bytes_of(id)).copied().collect::<Vec<_>>();
        let bytes = match bytes.strip_prefix(b" ") {
            Some(rest) if self.pieces.begins_with_space() => rest,
            _ => &bytes,
        };
        String::from_utf8_lossy(bytes).into_owned()
    }
}
