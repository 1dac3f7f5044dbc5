//! What can be wrong with a tokenizer's files, and with a text.

use thiserror::Error;

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
    /// A file is not what its name says.
    #[error("`{file}` cannot be read: {message}")]
    File {
        /// The file's name.
        file: &'static str,
        /// What is wrong with it, and where.
        message: String,
    },
    /// The parts do not fit together.
    #[error("the vocabulary does not fit together: {message}")]
    Inconsistent {
        /// What does not fit.
        message: String,
    },
}

impl TokenizerError {
    pub(super) fn inconsistent(message: impl ToString) -> Self {
        Self::Inconsistent { message: message.to_string() }
    }
}

/// A text that the vocabulary cannot write.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the text cannot be tokenized: {0}")]
pub struct EncodeError(String);

impl EncodeError {
    pub(super) fn new(message: impl ToString) -> Self {
        Self(message.to_string())
    }
}
