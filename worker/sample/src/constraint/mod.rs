//! What an output must be.

mod grammar;
mod guide;

use std::fmt::Debug;

use thiserror::Error;

use crate::TokenMask;
pub use grammar::{
    Grammar, MAX_CHOICES, MAX_CHOICES_BYTES, MAX_LARK_BYTES, MAX_NESTING, MAX_REGEX_BYTES, MAX_SCHEMA_BYTES,
};
pub use guide::Guide;

/// Follows an output and says which tokens may come next.
///
/// Its state is a function of what it was made for and of the tokens it has
/// taken, so it can be rebuilt anywhere.
pub trait Constraint: Debug + Send {
    /// The tokens that may come next; those that end an output are among them
    /// where it may end.
    ///
    /// # Errors
    /// It is worn out: the bounds on what it may cost are reached.
    fn mask(&mut self) -> Result<&TokenMask, ConstraintError>;

    /// Goes on by a token of the output.
    ///
    /// # Errors
    /// The token may not come here, or the constraint is worn out.
    fn accept(&mut self, id: u32) -> Result<(), ConstraintError>;

    /// Whether the output so far is complete.
    fn may_end(&mut self) -> bool;

    /// Whether it is complete and nothing may follow.
    fn must_end(&self) -> bool;
}

/// Why a constraint cannot go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the constraint cannot go on: {message}")]
pub struct ConstraintError {
    /// What is known of it.
    pub message: String,
}
