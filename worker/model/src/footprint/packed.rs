//! The scratch of the CPU engine.

use super::{FootprintError, PAGE_TOKENS, PREFILL_CHUNK, Shape, product, sum};
use crate::Dims;

/// Rows that the CPU engine computes together: a piece of a prompt, and last tokens of
/// other sequences beside it. Of what sees ahead, a whole text, if that is more.
pub const PACKED_ROWS: u32 = PREFILL_CHUNK + 64;
/// Positions that it attends to at a time; their results are merged.
pub const SPLIT_TOKENS: u32 = 128;
/// Rows that lie interleaved: those of an expert are filled up to as many.
const PANEL_ROWS: u64 = 4;

/// The scratch of an engine that computes with packed weights, which it allocates once,
/// with `rows` = [`PACKED_ROWS`], or `context` where tokens see ahead and that is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedActivations {
    /// What lies between layers' parts in `f32`:
    /// `rows · (2 · embedding + (heads + kv_heads) · (d_k + d_v) + 2 · ffn)`, without the
    /// last term where layers have experts. (Layers without, among such layers, are not
    /// counted: what they add is small beside the experts' weights.)
    pub registers: u64,
    /// The longest input of a linear layer, quantized, with its scales and sums:
    /// 2 bytes an element.
    pub quantized: u64,
    /// What is known of queries after each split of a context:
    /// `sequences · splits · heads · (d_v + 2)`, `d_v` a multiple of 16.
    pub states: u64,
    /// Keys and values of the texts under way, where tokens see ahead:
    /// `(pages(context) + sequences) · 32 · kv_heads · (d_k + d_v)`.
    pub texts: u64,
    /// Where layers have experts, the rows that experts take, `taken` = `rows · used` and
    /// what fills them up, with `width` = `ffn / used`: in `f32`
    /// `taken · (embedding + 2 · width) + rows · (embedding + experts)`, and 2 bytes an
    /// element of the longer of their inputs, quantized.
    pub experts: u64,
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
        let (context, sequences) = (shape.context_tokens, u64::from(shape.sequences));
        let rows = u64::from(if dims.sees_ahead { context.max(PACKED_ROWS) } else { PACKED_ROWS });
        let (heads, kv_heads) = (u64::from(dims.heads), u64::from(dims.kv_heads));
        let (key, value) = (u64::from(dims.head_dim_k), u64::from(dims.head_dim_v));
        let (embedding, ffn) = (u64::from(dims.embedding), u64::from(dims.ffn));
        let qkv = part(&[add(&[heads, kv_heads])?, add(&[key, value])?])?;
        let attended = part(&[heads, value])?;
        let splits = u64::from(context.div_ceil(SPLIT_TOKENS));
        let padded = value.next_multiple_of(16);
        let texts = match dims.sees_ahead {
            true => {
                let pages = add(&[context.div_ceil(PAGE_TOKENS).into(), sequences])?;
                part(&[pages, PAGE_TOKENS.into(), kv_heads, add(&[key, padded])?, F32])?
            }
            false => 0,
        };
        let gates = if dims.experts_used == 0 { 2 * ffn } else { 0 };
        Ok(Self {
            registers: part(&[rows, add(&[2 * embedding, qkv, gates])?, F32])?,
            quantized: part(&[rows, embedding.max(ffn).max(attended), 2])?,
            states: part(&[sequences, splits, heads, add(&[padded, 2])?, F32])?,
            texts,
            experts: experts(dims, rows)?,
            logits: part(&[sequences, dims.vocab.into(), F32])?,
        })
    }

    /// The sum of the parts.
    ///
    /// # Errors
    /// It does not fit 64 bits.
    pub fn total(&self) -> Result<u64, FootprintError> {
        let Self { registers, quantized, states, texts, experts, logits } = *self;
        sum("activations", &[registers, quantized, states, texts, experts, logits])
    }
}

fn experts(dims: &Dims, rows: u64) -> Result<u64, FootprintError> {
    const F32: u64 = 4;
    let part = |factors: &[u64]| product("activations", factors);
    let add = |terms: &[u64]| sum("activations", terms);
    let (experts, used) = (u64::from(dims.experts), u64::from(dims.experts_used));
    let Some(width) = u64::from(dims.ffn).checked_div(used) else { return Ok(0) };
    let embedding = u64::from(dims.embedding);
    let chosen = part(&[rows, used])?;
    let taken = add(&[chosen, experts.min(chosen) * (PANEL_ROWS - 1)])?;
    add(&[
        part(&[taken, add(&[embedding, 2 * width])?, F32])?,
        part(&[taken, embedding.max(width), 2])?,
        part(&[rows, add(&[embedding, experts])?, F32])?,
    ])
}
