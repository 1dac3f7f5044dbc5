//! Where the weights of a model lie.

use crate::Tensor;

/// A matrix `[outputs, inputs]` and what is added to its product.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[outputs, inputs]`. It may be some rows of a larger tensor.
    pub weight: Tensor,
    /// `[outputs]`.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// `count` outputs from `start` on, which it has.
    pub(super) fn rows(&self, start: u64, count: u64) -> Self {
        let part = |tensor: &Tensor| tensor.rows(start, count);
        Self { weight: part(&self.weight), bias: self.bias.as_ref().map(part) }
    }
}

/// The weights of a norm.
#[derive(Clone, Debug, PartialEq)]
pub struct NormWeights {
    /// What is multiplied with, `plus` added to it: `[width]`.
    pub weight: Tensor,
    /// What is added after that: `[width]`.
    pub bias: Option<Tensor>,
    /// 1 where the file holds how far the weight is from 1, else 0.
    pub plus: f32,
}

/// The norms around a block of a layer: `x = sum(x + after(block(before(x))))`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockNorms {
    /// Of what the block reads.
    pub before: Option<NormWeights>,
    /// Of what it adds to the residual stream.
    pub after: Option<NormWeights>,
    /// Of the residual stream behind it.
    pub sum: Option<NormWeights>,
}

/// The attention of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionWeights {
    /// Around it.
    pub norms: BlockNorms,
    /// `[heads · d_k, embedding]`.
    pub query: Linear,
    /// `[kv_heads · d_k, embedding]`.
    pub key: Linear,
    /// `[kv_heads · d_v, embedding]`.
    pub value: Linear,
    /// Of queries: `[d_k]` or `[heads · d_k]`, as the design's `head_norms` says.
    pub query_norm: Option<NormWeights>,
    /// Of keys: `[d_k]` or `[kv_heads · d_k]`.
    pub key_norm: Option<NormWeights>,
    /// `[embedding, heads · d_v]`.
    pub output: Linear,
}

/// What a feed-forward network multiplies with.
#[derive(Clone, Debug, PartialEq)]
pub enum FfnWeights {
    /// `down(activation(gate(x)) · up(x))`.
    Gated {
        /// `[ffn, embedding]`.
        gate: Linear,
        /// `[ffn, embedding]`.
        up: Linear,
        /// `[embedding, ffn]`.
        down: Linear,
    },
    /// `down(activation(up(x)))`.
    Plain {
        /// `[ffn, embedding]`.
        up: Linear,
        /// `[embedding, ffn]`.
        down: Linear,
    },
    /// Several gated ones of which a token takes some. Matrices of all experts follow
    /// one another, in one tensor or in several.
    Experts {
        /// `[experts, embedding]`.
        router: Tensor,
        /// `[experts, ffn, embedding]`.
        gate: Vec<Tensor>,
        /// `[experts, ffn, embedding]`.
        up: Vec<Tensor>,
        /// `[experts, embedding, ffn]`.
        down: Vec<Tensor>,
        /// Width of each.
        ffn: u32,
    },
}

/// A layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// The first block.
    pub attention: AttentionWeights,
    /// Around the second block.
    pub ffn_norms: BlockNorms,
    /// The second block.
    pub ffn: FfnWeights,
}

/// The tensors of a model: present, readable, and of the shapes that
/// [`Dims`](crate::Dims) says.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `[vocab, embedding]`.
    pub token_embedding: Tensor,
    /// `[context_length, embedding]`: added by position.
    pub position_embedding: Option<Tensor>,
    /// `[kinds, embedding]`: of which the first row is added to every token.
    pub type_embedding: Option<Tensor>,
    /// Of the embedding.
    pub embedding_norm: Option<NormWeights>,
    /// One a layer.
    pub layers: Vec<LayerWeights>,
    /// Behind the last layer.
    pub output_norm: Option<NormWeights>,
    /// `[vocab, embedding]`; `None` if the head is tied to the token embedding, or
    /// there is none.
    pub output: Option<Tensor>,
}
