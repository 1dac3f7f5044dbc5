//! How many tokens a sequence may hold.

// KubeSchema repeats the structs inside functions, with their visibility.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Tokens a sequence may hold. The planner gives the most that fits.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.min) || !has(self.max) || self.min <= self.max", "context.min must not be above context.max; lower min or raise max"))]
pub struct Context {
    /// The least that is useful: where not even this fits, the model is not
    /// placed. In tokens, such as 8192. Default: 4096, or max or the model's own
    /// context where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 16_777_216))]
    #[x_kube(validation = ("self >= 1", "context.min must be at least 1 token; leave it out for the default"))]
    pub min: Option<u32>,

    /// The most that is wanted, in tokens, such as 65536; not above the model's
    /// own context. Default: 16384, or min where that is more, or the model's own
    /// context where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 16_777_216))]
    #[x_kube(validation = ("self >= 1", "context.max must be at least 1 token; leave it out for the default"))]
    pub max: Option<u32>,
}

/// A context that the model can't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// A bound is zero.
    #[error("spec.context.{field}: 0: a context is at least 1 token; leave it out for the default")]
    Zero {
        /// `min` or `max`.
        field: &'static str,
    },
    /// The bounds cross.
    #[error("spec.context.min: {min}: above context.max, {max}; lower min or raise max")]
    Crossed {
        /// The lower bound.
        min: u32,
        /// The upper bound.
        max: u32,
    },
    /// A bound is above what the model was made for.
    #[error("spec.context.{field}: {value}: the model's own context is {own} tokens; ask for at most that")]
    OverModel {
        /// `min` or `max`.
        field: &'static str,
        /// What was asked.
        value: u32,
        /// What the file says.
        own: u32,
    },
}

impl Context {
    /// Where [`Context::min`] is left out.
    pub const DEFAULT_MIN: u32 = 4096;
    /// Where [`Context::max`] is left out.
    pub const DEFAULT_MAX: u32 = 16384;

    /// The bounds in force, `(min, max)`, for a model whose own context is `own` tokens.
    ///
    /// # Errors
    /// A bound is 0 or above `own`, or `min` is above `max`.
    pub fn bounds(&self, own: u32) -> Result<(u32, u32), ContextError> {
        for (field, value) in [("min", self.min), ("max", self.max)] {
            match value {
                Some(0) => return Err(ContextError::Zero { field }),
                Some(value) if value > own => return Err(ContextError::OverModel { field, value, own }),
                _ => {}
            }
        }
        let max = self.max.unwrap_or_else(|| Self::DEFAULT_MAX.max(self.min.unwrap_or(0)).min(own));
        let min = self.min.unwrap_or_else(|| Self::DEFAULT_MIN.min(max));
        if min > max { Err(ContextError::Crossed { min, max }) } else { Ok((min, max)) }
    }
}
