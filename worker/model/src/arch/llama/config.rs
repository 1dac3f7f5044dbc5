//! The numbers of a llama from a `config.json`.

use serde::Deserialize;

use super::{Numbers, unknown_scaling};
use crate::arch::{ArchError, Rope, RopePairs, RopeScaling};

#[derive(Deserialize)]
struct Config {
    num_hidden_layers: u32,
    num_attention_heads: u32,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    hidden_size: u32,
    intermediate_size: u32,
    vocab_size: u32,
    max_position_embeddings: u32,
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    rope_scaling: Option<Scaling>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

#[derive(Deserialize)]
struct Scaling {
    #[serde(alias = "type")]
    rope_type: String,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<u32>,
}

pub(super) fn numbers(config: &serde_json::Value) -> Result<Numbers, ArchError> {
    let c = Config::deserialize(config).map_err(|e| ArchError::Config(e.to_string()))?;
    if c.attention_bias || c.mlp_bias {
        return Err(ArchError::Unsupported {
            feature: "biases in linear layers",
            found: "`attention_bias` or `mlp_bias` is true".to_owned(),
            remedy: "use a model without them",
        });
    }
    let head_dim =
        c.head_dim.unwrap_or_else(|| c.hidden_size.checked_div(c.num_attention_heads).unwrap_or(0));
    Ok(Numbers {
        layers: c.num_hidden_layers,
        heads: c.num_attention_heads,
        kv_heads: c.num_key_value_heads.unwrap_or(c.num_attention_heads),
        head_dim_k: head_dim,
        head_dim_v: head_dim,
        embedding: c.hidden_size,
        ffn: c.intermediate_size,
        vocab: c.vocab_size,
        context_length: c.max_position_embeddings,
        rms_epsilon: c.rms_norm_eps,
        rope: Rope {
            theta: c.rope_theta.unwrap_or(10_000.0),
            dims: head_dim,
            pairs: RopePairs::Halves,
            scaling: scaling(c.rope_scaling)?,
        },
        may_tie: c.tie_word_embeddings,
    })
}

fn scaling(scaling: Option<Scaling>) -> Result<RopeScaling, ArchError> {
    let Some(s) = scaling else { return Ok(RopeScaling::None) };
    let need = |value: Option<f32>, key: &str| {
        value.ok_or_else(|| ArchError::Config(format!("`rope_scaling.{key}` is missing")))
    };
    match s.rope_type.as_str() {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: need(s.factor, "factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: need(s.factor, "factor")?,
            low: need(s.low_freq_factor, "low_freq_factor")?,
            high: need(s.high_freq_factor, "high_freq_factor")?,
            original_context: s.original_max_position_embeddings.ok_or_else(|| {
                ArchError::Config("`rope_scaling.original_max_position_embeddings` is missing".to_owned())
            })?,
        }),
        other => Err(unknown_scaling(other)),
    }
}
