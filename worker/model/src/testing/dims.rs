//! The sizes of a model that people run.

use crate::Dims;

/// SmolLM2-135M.
pub const SMOLLM2: Dims = Dims {
    layers: 30,
    heads: 9,
    kv_heads: 3,
    head_dim_k: 64,
    head_dim_v: 64,
    embedding: 576,
    ffn: 1536,
    experts: 0,
    experts_used: 0,
    vocab: 49_152,
    context_length: 8192,
    windowed_layers: 0,
    window: 0,
    sees_ahead: false,
    weights_f32_bytes: 538_060_032,
    weights_packed_bytes: 98_000_000,
};
