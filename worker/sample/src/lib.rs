//! Picking tokens: from the logits of a model to the id that comes next.
//!
//! A [`Picker`] does it for one request, in this order:
//! 1. the log probabilities that were asked for are taken, of the model's own
//!    distribution, at temperature 1;
//! 2. `logit_bias` is added;
//! 3. `repetition_penalty`, then `presence_penalty` and `frequency_penalty`;
//! 4. the penalty called DRY;
//! 5. what may not come becomes impossible: an end before `min_tokens`, and what
//!    the constraint rules out;
//! 6. `temperature` 0 takes the largest logit, the lowest id among equals, and
//!    the rest does not apply; otherwise logits are divided by it;
//! 7. `top_k` keeps the k largest;
//! 8. softmax over what is left; `typical_p` keeps what is nearest to the
//!    expected information, until the probabilities reach that sum;
//! 9. `top_p` keeps the shortest run of the likeliest that reaches that part of
//!    the sum of what is left;
//! 10. `min_p` drops what is less likely than that fraction of the likeliest;
//! 11. a draw, in proportion to what is left.
//!
//! The draw's randomness is a function of seed and position alone: a generation
//! that continues elsewhere, or after a preemption, goes on with the same draws.
//!
//! Absent: tensors, devices, threads, async runtimes.

pub mod constraint;
mod dry;
mod edits;
mod exp;
mod filters;
mod likeliest;
mod logprobs;
mod mask;
mod penalty;
mod picker;
mod random;
mod sampling;
#[cfg(test)]
mod testing;
mod vocabulary;
mod wrong;

pub use constraint::{Constraint, ConstraintError, Grammar, Guide};
pub use logprobs::Logprobs;
pub use mask::TokenMask;
pub use picker::{Next, PickError, Picked, Picker, Plan, Workspace};
pub use sampling::{
    Dry, LogitBias, MAX_BREAKER_BYTES, MAX_BREAKERS, MAX_LOGIT_BIASES, MAX_LOGPROBS, Sampling,
};
pub use vocabulary::Vocabulary;
pub use wrong::Wrong;
