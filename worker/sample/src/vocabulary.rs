//! What sampling knows of a model's tokens.

use std::fmt::Debug;

/// The tokens of a model.
pub trait Vocabulary: Debug + Send + Sync {
    /// Number of ids.
    fn size(&self) -> usize;

    /// The bytes that a token stands for; none for a control token and for an id
    /// that there is not.
    fn bytes(&self, id: u32) -> &[u8];

    /// The tokens that end an output.
    fn ends(&self) -> &[u32];
}
