//! The memory that a replica takes on a device, part by part.
//!
//! A planner calls this before anything is loaded, an engine allocates by it,
//! and a test compares the two. Everything is bytes in `u64`, with checked
//! arithmetic: numbers come from files.

mod packed;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::Dims;

pub use packed::{PACKED_ROWS, PackedActivations, SPLIT_TOKENS};

/// Tokens that prefill takes through the layers at a time.
pub const PREFILL_CHUNK: u32 = 128;

/// Tokens whose keys and values lie in one page.
pub const PAGE_TOKENS: u32 = 32;

/// Sequences of a step that the CPU computes side by side. Each widens the keys and
/// values of a layer for itself, so more would take more memory. Counted on every
/// device, although others take one sequence after another: what a model needs does
/// not hang on where an engine computes.
pub const SIDE_BY_SIDE: u32 = 4;

/// [`max_context`] answers in multiples of this.
pub const CONTEXT_STEP: u32 = 256;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
pub enum KvType {
    /// 16-bit floats: 2 bytes an element.
    #[default]
    F16,
    /// 8 bits and a 16-bit scale a block of 32 elements: 34 bytes a block. A
    /// head's vector is whole blocks, the last one padded.
    Q8_0,
}

impl KvType {
    /// Bytes of one vector of `elements` elements.
    #[must_use]
    pub const fn bytes(self, elements: u32) -> u64 {
        match self {
            Self::F16 => elements as u64 * 2,
            Self::Q8_0 => (elements as u64).div_ceil(32) * 34,
        }
    }
}

/// How the weights lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WeightStorage {
    /// Every tensor dequantized to 32-bit floats; a head tied to the token
    /// embedding is kept once. The reference engine.
    F32,
    /// Every matrix in the form of [`packing`](crate::packing), vectors in 32-bit floats.
    /// The CPU engine.
    Packed,
}

/// What is asked of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Tokens a sequence may hold.
    pub context_tokens: u32,
    /// Sequences whose KV cache is reserved.
    pub sequences: u32,
    /// How keys and values are kept.
    pub kv_type: KvType,
}

/// What kind of device runs the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum DeviceKind {
    Cpu,
    Cuda,
    Metal,
    Vulkan,
}

/// What a replica takes beside its tensors: vocabulary, merges, template,
/// node lists, allocator slack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overhead {
    /// Bytes a replica.
    pub fixed: u64,
    /// Bytes a token of the vocabulary.
    pub per_vocabulary_token: u64,
}

/// [`Overhead`] by kind of device. A device's context is the device's cost, not
/// a replica's: the worker measures it as part of what is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overheads {
    /// On the CPU: the tokenizer shares the device's memory.
    pub cpu: Overhead,
    /// On an NVIDIA GPU: loaded kernels and the allocator's rounding.
    pub cuda: Overhead,
    /// On Apple silicon, where the tokenizer shares the device's memory too.
    pub metal: Overhead,
    /// Through Vulkan.
    pub vulkan: Overhead,
}

const MIB: u64 = 1 << 20;

impl Overheads {
    /// The values in use until a device's own are measured. A token of a
    /// byte-pair vocabulary costs about 300 bytes in the tokenizer's maps and
    /// 150 in the merge table, rounded up.
    pub const DEFAULT: Self = Self {
        cpu: Overhead { fixed: 8 * MIB, per_vocabulary_token: 512 },
        cuda: Overhead { fixed: 64 * MIB, per_vocabulary_token: 0 },
        metal: Overhead { fixed: 64 * MIB, per_vocabulary_token: 512 },
        vulkan: Overhead { fixed: 64 * MIB, per_vocabulary_token: 0 },
    };

    /// The overhead on a kind of device.
    #[must_use]
    pub const fn of(&self, kind: DeviceKind) -> &Overhead {
        match kind {
            DeviceKind::Cpu => &self.cpu,
            DeviceKind::Cuda => &self.cuda,
            DeviceKind::Metal => &self.metal,
            DeviceKind::Vulkan => &self.vulkan,
        }
    }
}

impl Default for Overheads {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bytes on the device, part by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Footprint {
    /// The model's tensors.
    pub weights: u64,
    /// The KV cache of all sequences at full context.
    pub kv: u64,
    /// Scratch of a step. See [`Activations`].
    pub activations: u64,
    /// What is not tensors. See [`Overhead`].
    pub overhead: u64,
}

impl Footprint {
    /// The sum of the parts. [`footprint`] has checked that it fits.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv).saturating_add(self.activations).saturating_add(self.overhead)
    }
}

/// The scratch of the reference engine: what a step holds at its widest, with
/// `chunk = min(PREFILL_CHUNK, context)` rows of one sequence (of an encoder: `context`),
/// all in `f32`.
/// The engine allocates by these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activations {
    /// The residual stream and its normalised copy: `2 · chunk · embedding`.
    pub residual: u64,
    /// Queries, new keys and values, attention output:
    /// `chunk · (heads · (d_k + d_v) + kv_heads · (d_k + d_v))`.
    pub qkv: u64,
    /// Attention scores and their softmax: `2 · heads · chunk · context`.
    pub scores: u64,
    /// Keys and values of one layer of the sequences that are computed side by side,
    /// widened to `f32`: `min(SIDE_BY_SIDE, sequences) · context · kv_heads · (d_k + d_v)`.
    pub kv_rows: u64,
    /// Gate and up: `2 · chunk · ffn`.
    pub ffn: u64,
    /// One row of logits a sequence: `sequences · vocabulary`.
    pub logits: u64,
}

impl Activations {
    /// The scratch for a model and shape.
    ///
    /// # Errors
    /// A part does not fit 64 bits.
    pub fn of(dims: &Dims, shape: &Shape) -> Result<Self, FootprintError> {
        const F32: u64 = 4;
        // What sees ahead reads a text as a whole.
        let most = if dims.sees_ahead { shape.context_tokens } else { PREFILL_CHUNK };
        let chunk = u64::from(shape.context_tokens.min(most));
        let context = u64::from(shape.context_tokens);
        let side_by_side = u64::from(shape.sequences.min(SIDE_BY_SIDE));
        let heads = u64::from(dims.heads);
        let kv_heads = u64::from(dims.kv_heads);
        let head = u64::from(dims.head_dim_k) + u64::from(dims.head_dim_v);
        let part = |factors: &[u64]| product("activations", factors);
        let rows = heads.checked_add(kv_heads).ok_or(FootprintError { part: "activations" })?;
        Ok(Self {
            residual: part(&[2, chunk, dims.embedding.into(), F32])?,
            qkv: part(&[chunk, rows, head, F32])?,
            scores: part(&[2, heads, chunk, context, F32])?,
            kv_rows: part(&[side_by_side, context, kv_heads, head, F32])?,
            ffn: part(&[2, chunk, dims.ffn.into(), F32])?,
            logits: part(&[shape.sequences.into(), dims.vocab.into(), F32])?,
        })
    }

    /// The sum of the parts.
    ///
    /// # Errors
    /// It does not fit 64 bits.
    pub fn total(&self) -> Result<u64, FootprintError> {
        let Self { residual, qkv, scores, kv_rows, ffn, logits } = *self;
        sum("activations", &[residual, qkv, scores, kv_rows, ffn, logits])
    }
}

/// A footprint that does not fit 64 bits: the model or the shape is absurd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} of this model do not fit 64 bits; use a smaller context or fewer sequences")]
pub struct FootprintError {
    /// The part that overflowed.
    pub part: &'static str,
}

fn product(part: &'static str, factors: &[u64]) -> Result<u64, FootprintError> {
    factors.iter().try_fold(1u64, |a, b| a.checked_mul(*b)).ok_or(FootprintError { part })
}

fn sum(part: &'static str, terms: &[u64]) -> Result<u64, FootprintError> {
    terms.iter().try_fold(0u64, |a, b| a.checked_add(*b)).ok_or(FootprintError { part })
}

/// Bytes that one token of one sequence takes in the KV cache of all layers that keep
/// it: `layers · kv_heads · (bytes(d_k) + bytes(d_v))`.
///
/// # Errors
/// It does not fit 64 bits.
pub fn kv_bytes_per_token(dims: &Dims, kv_type: KvType) -> Result<u64, FootprintError> {
    let layers = if dims.sees_ahead { 0 } else { dims.layers };
    layers_bytes(dims, kv_type, layers)
}

fn layers_bytes(dims: &Dims, kv_type: KvType, layers: u32) -> Result<u64, FootprintError> {
    let head = kv_type.bytes(dims.head_dim_k) + kv_type.bytes(dims.head_dim_v);
    product("KV cache", &[layers.into(), dims.kv_heads.into(), head])
}

/// Tokens that one sequence of `context` keeps in a layer of which a token sees the last
/// `window`, at the most: whole pages that the window and the piece under way touch,
/// wherever in a page they begin. Without a window, all pages.
#[must_use]
pub fn kept_tokens(window: Option<u32>, context: u32) -> u64 {
    let page = u64::from(PAGE_TOKENS);
    let whole = u64::from(context).next_multiple_of(page);
    window.map_or(whole, |window| {
        let touched = u64::from(window.saturating_sub(1)) + u64::from(PREFILL_CHUNK);
        (touched.next_multiple_of(page) + page).min(whole)
    })
}

/// The KV cache of one sequence, in bytes.
///
/// # Errors
/// It does not fit 64 bits.
pub fn kv_bytes_per_sequence(dims: &Dims, shape: &Shape) -> Result<u64, FootprintError> {
    if dims.sees_ahead {
        return Ok(0);
    }
    let windowed = dims.windowed_layers.min(dims.layers);
    let group = |layers, window| {
        let tokens = kept_tokens(window, shape.context_tokens);
        product("KV cache", &[layers_bytes(dims, shape.kv_type, layers)?, tokens])
    };
    sum("KV cache", &[group(dims.layers - windowed, None)?, group(windowed, Some(dims.window))?])
}

/// What a replica takes on a device.
///
/// # Errors
/// A part, or the sum, does not fit 64 bits.
pub fn footprint(
    dims: &Dims,
    shape: &Shape,
    storage: WeightStorage,
    overhead: &Overhead,
) -> Result<Footprint, FootprintError> {
    let weights = match storage {
        WeightStorage::F32 => dims.weights_f32_bytes,
        WeightStorage::Packed => dims.weights_packed_bytes,
    };
    let kv = product("KV cache", &[kv_bytes_per_sequence(dims, shape)?, shape.sequences.into()])?;
    let activations = match storage {
        WeightStorage::F32 => Activations::of(dims, shape)?.total()?,
        WeightStorage::Packed => PackedActivations::of(dims, shape)?.total()?,
    };
    let vocabulary = product("overhead", &[overhead.per_vocabulary_token, dims.vocab.into()])?;
    let overhead = sum("overhead", &[overhead.fixed, vocabulary])?;
    sum("parts", &[weights, kv, activations, overhead])?;
    Ok(Footprint { weights, kv, activations, overhead })
}

/// The longest context, from `min` to `max` tokens, whose footprint is at most
/// `available` bytes: a multiple of [`CONTEXT_STEP`], or `min` or `max`
/// themselves. `None` if not even `min` fits.
#[must_use]
pub fn max_context(
    dims: &Dims,
    shape: &Shape,
    range: std::ops::RangeInclusive<u32>,
    storage: WeightStorage,
    overhead: &Overhead,
    available: u64,
) -> Option<u32> {
    let (min, max) = (*range.start(), *range.end());
    // A footprint that overflows does not fit either.
    let fits = |context_tokens: u32| {
        footprint(dims, &Shape { context_tokens, ..*shape }, storage, overhead)
            .is_ok_and(|f| f.total() <= available)
    };
    if min > max || !fits(min) {
        return None;
    }
    if fits(max) {
        return Some(max);
    }
    // Invariant: `low` steps fit or are below `min`, `high` steps do not fit.
    let (mut low, mut high) = (min / CONTEXT_STEP, max.div_ceil(CONTEXT_STEP));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle * CONTEXT_STEP) { low = middle } else { high = middle }
    }
    Some((low * CONTEXT_STEP).max(min))
}
