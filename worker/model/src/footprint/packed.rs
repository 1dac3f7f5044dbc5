//! The scratch of the CPU engine.

use super::{FootprintError, PREFILL_CHUNK, Shape, product, sum};
use crate::Dims;

/// Rows that the CPU engine computes together: a piece of a prompt, and last tokens of
/// other sequences beside it.
pub const PACKED_ROWS: u32 = PREFILL_CHUNK + 64;
/// Positions that it attends to at a time; their results are merged.
pub const SPLIT_TOKENS: u32 = 128;

/// The scratch of an engine that computes with packed weights, which it allocates once,
/// with `rows` = [`PACKED_ROWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedActivations {
    /// What lies between layers' parts in `f32`:
    /// `rows · (2 · embedding + (heads + kv_heads) · (d_k + d_v) + 2 · ffn)`.
    pub registers: u64,
    /// The longest input of a linear layer, quantized, with its scales and sums:
    /// 2 bytes an element.
    pub quantized: u64,
    /// What is known of queries after each split of a context:
    /// `sequences · splits · heads · (d_v + 2)`, `d_v` a multiple of 16.
    pub states: u64,
    /// One row of logits a sequence: `sequences · vocabulary`.
    pub logits: u64,
}

impl PackedActivations {
    /// The scratch for a model and shape.
    ///
    /// # Errors
    /// A part does not fit 64 bits.
    pub fn of(dims: &Dims, shape: &Shape) -> Result<Self, FootprintError> {
        const F32: u64 = 4;
        let part = |factors: &[u64]| product("activations", factors);
        let add = |terms: &[u64]| sum("activations", terms);
        let rows = u64::from(PACKED_ROWS);
        let (heads, kv_heads) = (u64::from(dims.heads), u64::from(dims.kv_heads));
        let (key, value) = (u64::from(dims.head_dim_k), u64::from(dims.head_dim_v));
        let (embedding, ffn) = (u64::from(dims.embedding), u64::from(dims.ffn));
        let qkv = part(&[add(&[heads, kv_heads])?, add(&[key, value])?])?;
        let attended = part(&[heads, value])?;
        let splits = u64::from(shape.context_tokens.div_ceil(SPLIT_TOKENS));
        let state = add(&[value.next_multiple_of(16), 2])?;
        Ok(Self {
            registers: part(&[rows, add(&[2 * embedding, qkv, 2 * ffn])?, F32])?,
            quantized: part(&[rows, embedding.max(ffn).max(attended), 2])?,
            states: part(&[shape.sequences.into(), splits, heads, state, F32])?,
            logits: part(&[shape.sequences.into(), dims.vocab.into(), F32])?,
        })
    }

    /// The sum of the parts.
    ///
    /// # Errors
    /// It does not fit 64 bits.
    pub fn total(&self) -> Result<u64, FootprintError> {
        let Self { registers, quantized, states, logits } = *self;
        sum("activations", &[registers, quantized, states, logits])
    }
}
