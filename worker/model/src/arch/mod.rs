//! Architectures: from a header to a model whose tensors and numbers agree.

mod design;
mod error;
mod llama;
mod tokenizer;

use std::sync::Arc;

pub use design::{Activation, NormKind};
pub use error::ArchError;
use serde::{Deserialize, Serialize};
pub use tokenizer::{TokenType, TokenizerKind, TokenizerSpec};

use crate::{Format, Header, Tensor};

/// Bytes that a `config.json` may have; real ones have a few thousand.
const MAX_CONFIG_BYTES: usize = 1 << 20;

/// The architectures that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// Pre-normalised decoder with RMS norm, rotary embedding, grouped-query
    /// attention and a SwiGLU feed-forward network.
    Llama,
}

impl Architecture {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Llama];

    /// The name in `general.architecture` and in a `config.json`'s `model_type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
        }
    }

    /// The architecture of that name.
    ///
    /// # Errors
    /// None has it.
    pub fn from_name(name: &str) -> Result<Self, ArchError> {
        Self::ALL.iter().copied().find(|a| a.name() == name).ok_or_else(|| ArchError::Unknown {
            found: crate::header::excerpt(name),
            known: Self::ALL.iter().map(|a| a.name()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// The numbers that decide how much memory a model takes. Cheap to copy, keep
/// and compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dims {
    /// Decoder layers.
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
    /// Width of the feed-forward network.
    pub ffn: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Tokens a sequence may hold, as the model was trained.
    pub context_length: u32,
    /// Bytes of all weights widened to `f32`, a tied head once.
    pub weights_f32_bytes: u64,
    /// Bytes of all weights as they lie in the file.
    pub weights_packed_bytes: u64,
}

/// Which elements of a head's vector the rotary embedding turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// Elements `2i` and `2i + 1`: llama files in GGUF.
    Adjacent,
    /// Elements `i` and `i + dims / 2`: safetensors files.
    Halves,
}

/// How positions are stretched beyond the trained context.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// They are not.
    None,
    /// Positions are divided by the factor.
    Linear {
        /// The factor, over 0.
        factor: f32,
    },
    /// The frequency of pair `i` is divided by element `i` of this `f32` tensor
    /// of `dims / 2` elements.
    Factors(Tensor),
    /// Low frequencies are divided by `factor`, high ones stay, those between are
    /// blended; see [`Rope::frequencies`].
    Llama3 {
        /// Divisor of low frequencies.
        factor: f32,
        /// Wavelengths over `original_context / low` are divided by `factor`.
        low: f32,
        /// Wavelengths under `original_context / high` stay.
        high: f32,
        /// Context before the stretch, in tokens.
        original_context: u32,
    },
}

/// The rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies: pair `i` turns by `theta^(-2i/dims)` a token.
    pub theta: f32,
    /// Elements of a head that are turned: even, at most `head_dim_k`.
    pub dims: u32,
    /// Which elements are pairs.
    pub pairs: RopePairs,
    /// The stretch.
    pub scaling: RopeScaling,
}

impl Rope {
    /// What pair `i` turns by a token, in radians, for `i` in `0..dims / 2`.
    /// `factors` holds the numbers of the tensor of [`RopeScaling::Factors`], and
    /// is not looked at otherwise.
    #[must_use]
    pub fn frequencies(&self, factors: &[f32]) -> Vec<f64> {
        let pair = |i: u32| {
            let plain = f64::from(self.theta).powf(-2.0 * f64::from(i) / f64::from(self.dims));
            match self.scaling {
                RopeScaling::None => plain,
                RopeScaling::Linear { factor } => plain / f64::from(factor),
                RopeScaling::Factors(_) => plain / factors.get(i as usize).map_or(1.0, |f| f64::from(*f)),
                RopeScaling::Llama3 { factor, low, high, original_context } => {
                    let turns = f64::from(original_context) * plain / std::f64::consts::TAU;
                    let (low, high) = (f64::from(low), f64::from(high));
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    plain * (keep + (1.0 - keep) / f64::from(factor))
                }
            }
        };
        (0..self.dims / 2).map(pair).collect()
    }
}

/// The tensors of a decoder layer. Matrices are `[outputs, inputs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// `[embedding]`.
    pub attention_norm: Tensor,
    /// `[heads · d_k, embedding]`.
    pub query: Tensor,
    /// `[kv_heads · d_k, embedding]`.
    pub key: Tensor,
    /// `[kv_heads · d_v, embedding]`.
    pub value: Tensor,
    /// `[embedding, heads · d_v]`.
    pub attention_output: Tensor,
    /// `[embedding]`.
    pub ffn_norm: Tensor,
    /// `[ffn, embedding]`.
    pub gate: Tensor,
    /// `[ffn, embedding]`.
    pub up: Tensor,
    /// `[embedding, ffn]`.
    pub down: Tensor,
}

/// The tensors of a model: present, readable, and of the shapes that [`Dims`] says.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `[vocab, embedding]`.
    pub token_embedding: Tensor,
    /// One a layer.
    pub layers: Vec<LayerWeights>,
    /// `[embedding]`.
    pub output_norm: Tensor,
    /// `[vocab, embedding]`; `None` if the head is tied to the token embedding.
    pub output: Option<Tensor>,
}

/// A model file that has been understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The architecture.
    pub architecture: Architecture,
    /// The format of the file.
    pub format: Format,
    /// What the file calls itself.
    pub name: Option<String>,
    /// What people call its quantization: `Q4_K_M`, `Q8_0`, `BF16`.
    pub quantization: String,
    /// Elements of all weights.
    pub parameters: u64,
    /// Bytes that the file must have at least.
    pub min_file_bytes: u64,
    /// The numbers that decide its memory.
    pub dims: Dims,
    /// The rotary position embedding.
    pub rope: Rope,
    /// Added to the mean square before the root in RMS norm.
    pub rms_epsilon: f32,
    /// Where its tensors lie.
    pub weights: Weights,
    /// Its vocabulary; `None` where the format holds none.
    pub tokenizer: Option<Arc<TokenizerSpec>>,
    /// The Jinja source that renders a chat.
    pub chat_template: Option<Arc<str>>,
}

impl Model {
    /// Understands a GGUF header.
    ///
    /// # Errors
    /// The architecture is unknown, or numbers and tensors do not agree.
    pub fn from_gguf(header: &Header) -> Result<Self, ArchError> {
        let name = header.metadata.require_str("general.architecture")?;
        match Architecture::from_name(name)? {
            Architecture::Llama => llama::from_gguf(header),
        }
    }

    /// Understands a safetensors header with the `config.json` beside it.
    ///
    /// # Errors
    /// As [`Model::from_gguf`], or the config is not what its architecture needs.
    pub fn from_safetensors(header: &Header, config_json: &[u8]) -> Result<Self, ArchError> {
        let config: serde_json::Value = match config_json.len() {
            0..=MAX_CONFIG_BYTES => {
                serde_json::from_slice(config_json).map_err(|e| ArchError::Config(e.to_string()))?
            }
            found => {
                return Err(ArchError::Config(format!("{found} bytes; allowed: up to {MAX_CONFIG_BYTES}")));
            }
        };
        let name = config.get("model_type").and_then(serde_json::Value::as_str);
        let name = name.ok_or_else(|| ArchError::Config("`model_type` is missing".to_owned()))?;
        match Architecture::from_name(name)? {
            Architecture::Llama => llama::from_safetensors(header, &config),
        }
    }

    /// The vocabulary's end-of-generation tokens; empty without a vocabulary.
    #[must_use]
    pub fn end_tokens(&self) -> &[u32] {
        self.tokenizer.as_ref().map_or(&[], |t| &t.end_of_generation)
    }
}
