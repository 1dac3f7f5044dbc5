//! The numbers that decide how much memory a model takes.

use serde::{Deserialize, Serialize};

/// The numbers that decide how much memory a model takes. Cheap to copy, keep
/// and compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dims {
    /// Layers.
    pub layers: u32,
    /// Query heads a layer.
    pub heads: u32,
    /// Key and value heads a layer; divides `heads`.
    pub kv_heads: u32,
    /// Elements of a query or key of one head.
    pub head_dim_k: u32,
    /// Elements of a value of one head.
    pub head_dim_v: u32,
    /// Width of the residual stream.
    pub embedding: u32,
    /// Width of the feed-forward network; of all experts that a token takes together,
    /// where that is wider.
    pub ffn: u32,
    /// Experts of a layer, where layers have any; else 0.
    #[serde(default)]
    pub experts: u32,
    /// Experts that a token takes, at most as many; else 0.
    #[serde(default)]
    pub experts_used: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Tokens a sequence may hold, as the model was trained.
    pub context_length: u32,
    /// Layers of which a token sees only the last `window` tokens.
    #[serde(default)]
    pub windowed_layers: u32,
    /// Tokens that a token sees in those layers, itself among them.
    #[serde(default)]
    pub window: u32,
    /// Whether tokens see those behind them: a text is read as a whole, and no keys
    /// and values are kept.
    #[serde(default)]
    pub sees_ahead: bool,
    /// Bytes of all weights widened to `f32`, a tied head once.
    pub weights_f32_bytes: u64,
    /// Bytes of all weights in the form in which a CPU computes with them: matrices
    /// [packed](crate::packing), vectors in `f32`.
    pub weights_packed_bytes: u64,
}
