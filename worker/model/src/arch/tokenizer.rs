//! The vocabulary as the file describes it.

use super::ArchError;
use crate::Metadata;

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerKind {
    /// Byte-level byte-pair encoding: merges in order, bytes written as printable
    /// characters (`gpt2` in GGUF).
    Bpe,
    /// SentencePiece with scores and byte fallback (`llama` in GGUF).
    SentencePiece,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenType {
    fn from_gguf(id: u64) -> Option<Self> {
        Some(match id {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// A vocabulary: all ids are below `tokens.len()`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerSpec {
    /// The kind.
    pub kind: TokenizerKind,
    /// The name of the pre-tokenizer: how text is split before merging
    /// (`smollm`, `llama-bpe`). `None` if the file names none.
    pub pre: Option<String>,
    /// The text of each token, by id.
    pub tokens: Vec<String>,
    /// What each token is for, by id.
    pub types: Vec<TokenType>,
    /// The score of each token, by id; empty for [`TokenizerKind::Bpe`].
    pub scores: Vec<f32>,
    /// Pairs that merge, first merge first; empty for [`TokenizerKind::SentencePiece`].
    pub merges: Vec<(String, String)>,
    /// Begins a sequence.
    pub bos: Option<u32>,
    /// Ends a sequence.
    pub eos: Option<u32>,
    /// Ends a turn.
    pub eot: Option<u32>,
    /// Stands for what has no token.
    pub unknown: Option<u32>,
    /// Fills a batch.
    pub padding: Option<u32>,
    /// Whether `bos` is put before a prompt.
    pub add_bos: bool,
    /// Whether `eos` is put after a prompt.
    pub add_eos: bool,
    /// Whether a space is put before a prompt; only for [`TokenizerKind::SentencePiece`].
    pub add_space_prefix: bool,
    /// The tokens at which a generation ends: `eos`, `eot` and those that by their
    /// text end a turn. Sorted.
    pub end_of_generation: Vec<u32>,
}
