//! What a model computes, and the contract of those that compute it.
//!
//! - [`arch`] turns a file's description into lists of pure nodes;
//! - [`Program`] is the cut between what a model computes and how requests share
//!   it: [`Program::step`] takes the rows of a batch and answers with logits;
//! - [`build`] is what building a program from a file has in common, whatever the
//!   device: reading the header, telling progress, failing.
//!
//! Absent: tensors, threads, text.

pub mod arch;
pub mod build;
mod step;

pub use build::{BuildError, Built, Unwatched, Watch};
pub use step::{PREFILL_CHUNK, Program, Row, Stage, StepError};
