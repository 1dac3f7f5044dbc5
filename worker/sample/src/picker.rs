//! One request's way of picking tokens.

use std::sync::Arc;

use thiserror::Error;

use crate::constraint::{Constraint, ConstraintError};
use crate::dry::{self, DryPenalty};
use crate::edits::{Edits, original};
use crate::filters;
use crate::likeliest::{Maxima, Scored};
use crate::logprobs::measure;
use crate::penalty::Penalties;
use crate::{Logprobs, Sampling, Vocabulary, Wrong, random};

/// What a [`Picker`] is made of.
#[derive(Debug, Default)]
pub struct Plan {
    /// How tokens are chosen. It has been [checked](Sampling::check).
    pub sampling: Sampling,
    /// Stands in where [`Sampling::seed`] is absent.
    pub spare_seed: u64,
    /// How many of the first tokens of the text are the prompt.
    pub prompt_len: usize,
    /// The output ends by none of [`Vocabulary::ends`] before it has so many
    /// tokens.
    pub min_tokens: u32,
    /// Whether tokens that end an output are tokens like any other. Under a
    /// constraint they do not come at all.
    pub ignore_ends: bool,
    /// What the output must be.
    pub constraint: Option<Box<dyn Constraint>>,
}

/// Picks the tokens of one request: sampler, penalties and constraint.
///
/// A pick is a function of plan, text and logits. What is kept from pick to pick
/// saves work and nothing else, so a picker that is made anew with the text so far
/// goes on as the first one would have.
#[derive(Debug)]
pub struct Picker {
    sampling: Sampling,
    seed: u64,
    prompt_len: usize,
    min_tokens: usize,
    ignore_ends: bool,
    penalties: Option<Penalties>,
    dry: Option<DryPenalty>,
    constraint: Option<Constrained>,
    vocabulary: Arc<dyn Vocabulary>,
}

#[derive(Debug)]
struct Constrained {
    constraint: Box<dyn Constraint>,
    /// Tokens of the output that it has taken.
    taken: usize,
}

/// A token that was picked.
#[derive(Clone, Debug, PartialEq)]
pub struct Picked {
    /// Its id.
    pub id: u32,
    /// If they were asked for.
    pub logprobs: Option<Logprobs>,
}

/// Whether anything can follow a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another token.
    Token,
    /// Nothing: the constraint is met, and any further token would break it.
    Nothing,
}

/// Why no token could be picked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PickError {
    /// All logits are `-inf` or no numbers at all.
    #[error("the model computed something that is not a number")]
    NotANumber,
    /// The constraint cannot go on.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The constraint allows tokens, and each of them is ruled out otherwise.
    #[error("no token that the constraint allows is possible here")]
    DeadEnd,
}

/// Memory for picks, in use during one. One a thread serves all its requests.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    maxima: Maxima,
    top: Vec<Scored>,
    before: Vec<(u32, f32)>,
    dry: dry::Scratch,
    filters: filters::Scratch,
}

impl Picker {
    /// A picker for a model with this vocabulary.
    ///
    /// # Errors
    /// [`Sampling::logit_bias`] names a token that there is not.
    pub fn new(plan: Plan, vocabulary: Arc<dyn Vocabulary>) -> Result<Self, Wrong> {
        let Plan { sampling, spare_seed, prompt_len, min_tokens, ignore_ends, constraint } = plan;
        let size = vocabulary.size();
        if let Some(bias) = sampling.logit_bias.iter().find(|bias| bias.id as usize >= size) {
            let last = format!("the vocabulary's last id is {}", size.saturating_sub(1));
            return Err(Wrong::new("sampling.logit_bias", format!("for token {}", bias.id), &last));
        }
        Ok(Self {
            seed: sampling.seed.unwrap_or(spare_seed),
            prompt_len,
            min_tokens: min_tokens as usize,
            ignore_ends,
            penalties: Penalties::new(&sampling, prompt_len),
            dry: DryPenalty::new(&sampling.dry),
            constraint: constraint.map(|constraint| Constrained { constraint, taken: 0 }),
            sampling,
            vocabulary,
        })
    }

    /// Gets ready what the next pick needs beside logits, so that it can be done
    /// while those are computed. Never needed.
    ///
    /// # Errors
    /// What the pick would fail with.
    pub fn prepare(&mut self, text: &[u32]) -> Result<(), PickError> {
        if let Some(constrained) = &mut self.constraint {
            constrained.follow(output(text, self.prompt_len))?;
            constrained.constraint.mask()?;
        }
        Ok(())
    }

    /// Picks the token that follows `text`, prompt and output, and changes
    /// `logits` on the way. `None` if the constraint is met and nothing may
    /// follow.
    ///
    /// # Errors
    /// There is no token to pick.
    pub fn pick(
        &mut self,
        logits: &mut [f32],
        text: &[u32],
        workspace: &mut Workspace,
    ) -> Result<Option<Picked>, PickError> {
        let Workspace { maxima, top, before, dry, filters } = workspace;
        let output = output(text, self.prompt_len);
        let measured = match self.sampling.logprobs {
            None => None,
            Some(count) => {
                maxima.measure(logits);
                if maxima.largest() == f32::NEG_INFINITY {
                    return Err(PickError::NotANumber);
                }
                Some(measure(logits, maxima, count, top))
            }
        };

        let mut edits = Edits::new(logits, before);
        for bias in &self.sampling.logit_bias {
            edits.change(bias.id, |logit| logit + bias.bias);
        }
        if let Some(penalties) = &mut self.penalties {
            penalties.apply(text, &mut edits);
        }
        if let Some(penalty) = &mut self.dry {
            penalty.apply(text, &*self.vocabulary, dry, &mut edits);
        }
        let too_short = !self.ignore_ends && output.len() < self.min_tokens;
        if too_short || (self.ignore_ends && self.constraint.is_some()) {
            for &end in self.vocabulary.ends() {
                edits.change(end, |_| f32::NEG_INFINITY);
            }
        }
        if let Some(constrained) = &mut self.constraint {
            constrained.follow(output)?;
            constrained.constraint.mask()?.apply(logits);
        }

        maxima.measure(logits);
        let unit = random::unit(self.seed, text.len() as u64);
        match filters::choose(&self.sampling, logits, maxima, filters, unit) {
            Some(id) => {
                let logit = original(logits, before, id).unwrap_or(f32::NEG_INFINITY);
                Ok(Some(Picked { id, logprobs: measured.map(|measured| measured.of(logit)) }))
            }
            None => match &mut self.constraint {
                None => Err(PickError::NotANumber),
                Some(constrained) => {
                    if constrained.constraint.may_end() {
                        Ok(None)
                    } else {
                        Err(PickError::DeadEnd)
                    }
                }
            },
        }
    }

    /// Takes note of a token that was picked and is part of the output.
    ///
    /// # Errors
    /// The constraint does not take it, or is worn out.
    pub fn accept(&mut self, id: u32) -> Result<Next, PickError> {
        let Some(constrained) = &mut self.constraint else { return Ok(Next::Token) };
        constrained.constraint.accept(id)?;
        constrained.taken += 1;
        Ok(if constrained.constraint.must_end() { Next::Nothing } else { Next::Token })
    }

    /// Whether a token that was picked ends the output, of which it is no part.
    #[must_use]
    pub fn is_end(&self, id: u32) -> bool {
        !self.ignore_ends && self.vocabulary.ends().contains(&id)
    }
}

impl Constrained {
    /// Takes what it has not seen of the output: all of it, where a generation
    /// goes on that began elsewhere.
    fn follow(&mut self, output: &[u32]) -> Result<(), ConstraintError> {
        for &id in output.get(self.taken..).unwrap_or_default() {
            self.constraint.accept(id)?;
            self.taken += 1;
        }
        Ok(())
    }
}

fn output(text: &[u32], prompt_len: usize) -> &[u32] {
    text.get(prompt_len..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
