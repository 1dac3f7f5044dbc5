//! Text to tokens and back, as the model's file says.
//!
//! Encoding is the `tokenizers` crate's, set up from the file's vocabulary.
//! Decoding is a table: every token stands for fixed bytes, so a stream is
//! decoded by concatenation and only has to be cut at whole characters.

mod bpe;
mod bytes;
mod pieces;
mod pre;
mod sentencepiece;

use hearth_model::arch::{TokenType, TokenizerKind, TokenizerSpec};
use thiserror::Error;
use tokenizers::AddedToken;

use pieces::Pieces;

/// A tokenizer that was built from a model's file.
#[derive(Debug)]
pub struct Tokenizer {
    encoder: tokenizers::Tokenizer,
    pieces: Pieces,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    end_of_generation: Vec<u32>,
    longest: usize,
}

/// Why a tokenizer cannot be built.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The file holds no vocabulary.
    #[error("the file holds no vocabulary: use a file that has `tokenizer.ggml.tokens`")]
    Missing,
    /// The split before merging is not known, and guessing it gives wrong ids.
    #[error("`tokenizer.ggml.pre` is `{found}`, which is not known; known are {known}")]
    UnknownPre {
        /// What the file says.
        found: String,
        /// What could be read.
        known: String,
    },
    /// A token is not written in the alphabet of its kind.
    #[error("token {id} is `{token}`, which is not written in the byte alphabet")]
    Alphabet {
        /// The token's id.
        id: u32,
        /// Its text.
        token: String,
    },
    /// The parts do not fit together.
    #[error("the vocabulary does not fit together: {message}")]
    Inconsistent {
        /// What does not fit.
        message: String,
    },
}

impl TokenizerError {
    fn inconsistent(message: impl ToString) -> Self {
        Self::Inconsistent { message: message.to_string() }
    }
}

impl Tokenizer {
    /// Builds the tokenizer that a file describes.
    ///
    /// # Errors
    /// See [`TokenizerError`].
    pub fn new(spec: &TokenizerSpec) -> Result<Self, TokenizerError> {
        let mut encoder = match spec.kind {
            TokenizerKind::Bpe => bpe::encoder(spec)?,
            TokenizerKind::SentencePiece => sentencepiece::encoder(spec)?,
        };
        let pieces = match spec.kind {
            TokenizerKind::Bpe => bpe::pieces(spec)?,
            TokenizerKind::SentencePiece => sentencepiece::pieces(spec),
        };
        encoder.add_special_tokens(&added(spec));
        Ok(Self {
            encoder,
            bos: spec.bos,
            eos: spec.eos,
            add_bos: spec.add_bos,
            add_eos: spec.add_eos,
            end_of_generation: spec.end_of_generation.clone(),
            // An unknown character can become one token, whatever its length.
            longest: pieces.longest().max(4),
            pieces,
        })
    }

    /// Number of ids.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// The bytes that a token stands for; none for a control token and for an
    /// id that is not in the vocabulary.
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

    /// The text of the start token, which templates name.
    #[must_use]
    pub fn bos_text(&self) -> Option<String> {
        self.bos.and_then(|id| self.encoder.id_to_token(id))
    }

    /// The text of the end token, which templates name.
    #[must_use]
    pub fn eos_text(&self) -> Option<String> {
        self.eos.and_then(|id| self.encoder.id_to_token(id))
    }

    /// The least number of tokens that `text` can come to. Much cheaper than
    /// encoding, and enough to refuse what cannot fit.
    #[must_use]
    pub fn at_least(&self, text: &str) -> u64 {
        (text.len() / self.longest) as u64
    }

    /// The tokens of `text`. Special tokens that are written out in it count as
    /// what they name. With `wrap`, the start and end tokens are added that the
    /// file asks for.
    ///
    /// # Errors
    /// The text cannot be written in this vocabulary.
    pub fn encode(&self, text: &str, wrap: bool) -> Result<Vec<u32>, EncodeError> {
        let encoding = self.encoder.encode_fast(text, false).map_err(|e| EncodeError(e.to_string()))?;
        let mut ids = encoding.get_ids().to_vec();
        if wrap {
            if let Some(bos) = self.bos.filter(|bos| self.add_bos && ids.first() != Some(bos)) {
                ids.insert(0, bos);
            }
            if let Some(eos) = self.eos.filter(|_| self.add_eos) {
                ids.push(eos);
            }
        }
        Ok(ids)
    }

    /// The text of `ids`; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes = ids.iter().flat_map(|&id| self.bytes_of(id)).copied().collect::<Vec<_>>();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A text that the vocabulary cannot write.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the text cannot be tokenized: {0}")]
pub struct EncodeError(String);

/// Tokens that are matched in the text before anything is split or merged.
fn added(spec: &TokenizerSpec) -> Vec<AddedToken> {
    let typed = spec.tokens.iter().zip(&spec.types);
    let matched = typed.filter(|(text, kind)| match kind {
        TokenType::Control | TokenType::UserDefined => !text.is_empty(),
        TokenType::Normal | TokenType::Unknown | TokenType::Unused | TokenType::Byte => false,
    });
    matched.map(|(text, _)| AddedToken::from(text.as_str(), true).normalized(false)).collect()
}
