//! What every engine has to hold to.
//!
//! The suite speaks to an engine as callers do, and knows nothing of what is
//! behind it. Whoever brings an engine runs [`run`] on it; a check that fails
//! panics with what was expected and what came.

mod loads;
mod probe;
mod requests;
mod sharing;
mod streams;

use std::path::PathBuf;

use hearth_model::KvType;

use crate::{Engine, LoadSpec};

/// An engine to be checked.
pub struct Subject {
    /// Starts one; each check takes its own.
    pub start: Box<dyn Fn() -> Engine>,
    /// A model with a byte-level vocabulary, an end token and a chat template.
    /// Small, as each check loads it.
    pub path: PathBuf,
    /// Tokens a sequence that the model can do; at least 64.
    pub context_tokens: u32,
}

/// Sequences that checks ask for.
const SEQUENCES: u32 = 2;

/// What checks call the model.
const ID: &str = "model";

impl Subject {
    fn spec(&self) -> LoadSpec {
        LoadSpec {
            id: ID.into(),
            path: self.path.clone(),
            context_tokens: self.context_tokens,
            sequences: SEQUENCES,
            kv_type: KvType::F16,
        }
    }

    /// An engine with the model loaded.
    fn loaded(&self) -> Engine {
        let engine = (self.start)();
        probe::load(&engine, self.spec())
            .end
            .unwrap_or_else(|error| panic!("the model does not load: {error}"));
        engine
    }
}

/// A check.
pub type Check = fn(&Subject);

/// All checks, by what they ask.
pub const CHECKS: &[(&str, Check)] = &[
    ("a load tells its progress and one end", loads::one_end),
    ("a load that cannot be done says why", loads::refusals),
    ("a load that is let go leaves nothing", loads::cancelled),
    ("an unload gives back what a load took", loads::unload_frees),
    ("an unload aborts what runs", loads::unload_aborts),
    ("an engine that is let go ends what runs", loads::shutdown),
    ("a stream has one terminal item, the last", streams::one_terminal),
    ("deltas join to the text of their tokens", streams::whole_characters),
    ("a cancelled request ends within a step", streams::cancelled),
    ("nothing is sent to who is gone", streams::gone),
    ("lengths are kept", streams::lengths),
    ("stop sequences end the output before them", streams::stop_sequences),
    ("bad requests name field, value and remedy", requests::invalid),
    ("a prompt over the context names both numbers", requests::too_long),
    ("tokenizing is what generating counts", requests::tokenize),
    ("a seed decides the output", requests::seeds),
    ("company does not change the output", sharing::company),
    ("more requests than sequences all end", sharing::queue),
    ("a queue that is full says so", sharing::busy),
];

/// Runs all checks.
///
/// # Panics
/// The engine does not hold to one of them.
pub fn run(subject: &Subject) {
    assert!(subject.context_tokens >= 64, "the checks need a context of 64 tokens");
    for (name, check) in CHECKS {
        eprintln!("conformance: {name}");
        check(subject);
    }
}

#[cfg(test)]
mod tests;
