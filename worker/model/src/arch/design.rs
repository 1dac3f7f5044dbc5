//! What distinguishes a model beside its sizes.

use super::Rope;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// `x · Φ(x)`, with the error function.
    Gelu,
    /// [`Activation::Gelu`] through a hyperbolic tangent:
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
    GeluTanh,
}

/// What a norm does with a vector `x` before its weight and bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// `x / √(mean(x²) + ε)`.
    Rms,
    /// `(x - mean(x)) / √(variance(x) + ε)`, the variance over all elements.
    Layer,
}

/// What the norms of queries and keys normalise, where a model has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadNorms {
    /// Each head on its own.
    Heads,
    /// All heads of a token together.
    Row,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// It says how likely each token of the vocabulary comes next.
    Generate,
    /// It makes one vector of unit length of a text.
    Embed(Pooling),
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's.
    First,
    /// The last token's.
    Last,
}

/// How experts are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Routing {
    /// Experts a layer.
    pub experts: u32,
    /// How many a token takes: 1 to `experts`.
    pub used: u32,
    /// Whether the scores of those are divided by their sum.
    pub normalised: bool,
}

/// What distinguishes a layer from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerDesign {
    /// Tokens that a token sees, itself among them; at least 1. `None`: all before it.
    pub window: Option<u32>,
    /// Which of [`Design::ropes`] turns queries and keys, if any does.
    pub rope: Option<usize>,
}

/// What a model computes, beside its sizes and weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// The norms' kind.
    pub norm: NormKind,
    /// What norms add under the root.
    pub epsilon: f32,
    /// What norms of queries and keys normalise, where there are any.
    pub head_norms: HeadNorms,
    /// Of the feed-forward network.
    pub activation: Activation,
    /// The token embedding is multiplied with it.
    pub embedding_scale: f32,
    /// What a block adds to the residual stream is multiplied with it.
    pub residual_scale: f32,
    /// Logits are multiplied with it.
    pub logit_scale: f32,
    /// Logits `x` become `cap · tanh(x / cap)`.
    pub logit_cap: Option<f32>,
    /// Attention scores are multiplied with it.
    pub attention_scale: f32,
    /// Scaled attention scores `s` become `cap · tanh(s / cap)`.
    pub attention_cap: Option<f32>,
    /// Whether tokens see those behind them.
    pub sees_ahead: bool,
    /// The rotary position embeddings that layers choose from.
    pub ropes: Vec<Rope>,
    /// The layers, in order.
    pub layers: Vec<LayerDesign>,
    /// How layers with experts choose them.
    pub routing: Option<Routing>,
    /// What it is for.
    pub purpose: Purpose,
}
