//! Constraints from grammars, by llguidance.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::{Constraint, ConstraintError, Grammar};
use crate::{TokenMask, Vocabulary, Wrong};

/// Grammars whose compiled form is kept for the next request.
const KEPT: usize = 16;
/// White space between the parts of a JSON value: enough to indent by.
const SPACE: &str = r"[ \n\r\t]{1,64}";
/// The longest part of a message that is passed on, in characters.
const SHOWN: usize = 300;

/// Compiles grammars for the tokens of one model.
///
/// What it needs of the vocabulary is made at the first grammar and shared by
/// all: a prefix tree, and masks of the tokens that strings in JSON are made of.
pub struct Guide {
    vocabulary: Arc<dyn Vocabulary>,
    factory: OnceLock<Result<ParserFactory, String>>,
    /// The last used is the last.
    kept: Mutex<Vec<(Grammar, Matcher)>>,
}

impl Guide {
    /// Stack that [`Guide::compile`] needs, in bytes: grammars that are as deep
    /// as their size allows are compiled by recursion.
    pub const STACK_BYTES: usize = 256 << 20;

    /// A guide for a model with this vocabulary. Nothing is computed yet.
    #[must_use]
    pub fn new(vocabulary: Arc<dyn Vocabulary>) -> Self {
        Self { vocabulary, factory: OnceLock::new(), kept: Mutex::default() }
    }

    /// Makes a constraint, on a thread with [`Guide::STACK_BYTES`] of stack.
    ///
    /// # Errors
    /// The grammar is wrong, asks for what is not supported, or costs too much.
    pub fn compile(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, Wrong> {
        grammar.check()?;
        let matcher = match self.kept(grammar) {
            Some(matcher) => matcher,
            None => {
                let matcher = self
                    .build(grammar)
                    .map_err(|message| Wrong::new(grammar.field(), "refused", &tidy(&message)))?;
                // A copy of its own for each request: what one of them wears
                // out is no other's.
                let copy = matcher.deep_clone();
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() >= KEPT {
                    kept.remove(0);
                }
                kept.push((grammar.clone(), copy));
                matcher
            }
        };
        Ok(Box::new(Guided { matcher, mask: TokenMask::default(), is_current: false }))
    }

    fn kept(&self, grammar: &Grammar) -> Option<Matcher> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == grammar)?;
        let found = kept.remove(at);
        let copy = found.1.deep_clone();
        kept.push(found);
        Some(copy)
    }

    fn build(&self, grammar: &Grammar) -> Result<Matcher, String> {
        let factory = self.factory.get_or_init(|| caught(|| factory(&*self.vocabulary)));
        let factory = factory.as_ref().map_err(Clone::clone)?;
        let matcher = caught(|| {
            let parser = factory.create_parser(top_level(grammar)?).map_err(|error| error.to_string())?;
            Ok(Matcher::new(Ok(parser)))
        })?;
        match matcher.get_error() {
            Some(message) => Err(message),
            None => Ok(matcher),
        }
    }
}

impl fmt::Debug for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guide").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

/// What a vocabulary or a grammar from outside does to code that is not ours must
/// not end a thread.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("it cannot be compiled".into()))
}

fn factory(vocabulary: &dyn Vocabulary) -> Result<ParserFactory, String> {
    let size = u32::try_from(vocabulary.size()).map_err(|error| error.to_string())?;
    let words = (0..size).map(|id| vocabulary.bytes(id).to_vec()).collect::<Vec<_>>();
    let ends = vocabulary.ends();
    let first = ends.first().copied().unwrap_or(llguidance::toktrie::INVALID_TOKEN);
    let trie = TokTrie::from(&TokRxInfo::new(size, first), &words);
    let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(ends) };
    // Any split of the text into tokens is allowed: the model chooses the one
    // that it knows.
    let tokens: llguidance::toktrie::TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)
        .map_err(|error| error.to_string())?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

/// What a grammar may cost. Measured with grammars made to be bad: compiling ends
/// within about a second, and a mask takes at most some 20 ms.
fn limits() -> ParserLimits {
    ParserLimits {
        // About four for each property that may be left out.
        max_items_in_row: 8_000,
        initial_lexer_fuel: 300_000,
        step_lexer_fuel: 100_000,
        step_max_items: 50_000,
        // Of up to 2 kB each.
        max_lexer_states: 25_000,
        max_grammar_size: 50_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}

fn top_level(grammar: &Grammar) -> Result<TopLevelGrammar, String> {
    Ok(match grammar {
        Grammar::JsonSchema(text) => {
            let schema = serde_json::from_str(text).map_err(|error| error.to_string())?;
            TopLevelGrammar::from_json_schema(spaced(schema))
        }
        Grammar::JsonObject => TopLevelGrammar::from_json_schema(spaced(json!({"type": "object"}))),
        Grammar::Regex(text) => TopLevelGrammar::from_regex(text),
        Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        Grammar::Choice(texts) => {
            let quoted = texts.iter().map(|text| Value::from(text.as_str()).to_string());
            TopLevelGrammar::from_lark(format!("start: {}", quoted.collect::<Vec<_>>().join(" | ")))
        }
    })
}

/// A schema with an end to the white space between the parts of its values: small
/// models fall into writing nothing else.
fn spaced(schema: Value) -> Value {
    const OPTIONS: &str = "x-guidance";
    match schema {
        Value::Object(mut schema) => {
            let options = || json!({"whitespace_pattern": SPACE});
            schema.entry(OPTIONS).or_insert_with(options);
            Value::Object(schema)
        }
        Value::Bool(true) => spaced(json!({})),
        other => other,
    }
}

/// A message without dumps of state, and of a length that people read.
fn tidy(message: &str) -> String {
    let message = message.split("\n<").next().unwrap_or_default().trim();
    match message.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// A grammar on its way through one output.
struct Guided {
    matcher: Matcher,
    mask: TokenMask,
    /// Whether `mask` is of the present state.
    is_current: bool,
}

impl fmt::Debug for Guided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guided").finish_non_exhaustive()
    }
}

impl Constraint for Guided {
    fn mask(&mut self) -> Result<&TokenMask, ConstraintError> {
        if !self.is_current {
            let mask = self.matcher.compute_mask_or_eos().map_err(|error| worn_out(&error.to_string()))?;
            self.mask.copy_from(mask.as_slice());
            self.is_current = true;
        }
        Ok(&self.mask)
    }

    fn accept(&mut self, id: u32) -> Result<(), ConstraintError> {
        self.is_current = false;
        self.matcher.consume_token(id).map_err(|error| worn_out(&error.to_string()))
    }

    fn may_end(&mut self) -> bool {
        self.must_end() || self.matcher.is_accepting().unwrap_or(false)
    }

    fn must_end(&self) -> bool {
        self.matcher.is_stopped() && self.matcher.stop_reason().is_ok()
    }
}

fn worn_out(message: &str) -> ConstraintError {
    ConstraintError { message: tidy(message) }
}

#[cfg(test)]
mod tests;
