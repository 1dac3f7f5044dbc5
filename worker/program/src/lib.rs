//! What a model computes, and the contract of those that compute it.
//!
//! - [`arch`] turns a file's description into lists of pure nodes;
//! - [`Program`] is the cut between what a model computes and how requests share
//!   it: [`Program::step`] takes the rows of a batch and writes [`Answers`];
//! - [`PageLayout`] says in which pages a program keeps keys and values, and a
//!   [`Row`]'s tables which of them are a sequence's;
//! - [`build`] is what building a program from a file has in common, whatever the
//!   device: reading the header, telling progress, failing.
//!
//! Absent: tensors, threads, text.

mod answers;
pub mod arch;
pub mod build;
mod pages;
mod step;
#[cfg(feature = "testing")]
pub mod testing;

pub use answers::{Answers, Output};
pub use build::{BuildError, Built, Unwatched, Watch};
pub use pages::{PAGE_TOKENS, PageGroup, PageId, PageLayout};
pub use step::{PREFILL_CHUNK, Program, Row, Stage, StepError};
