//! What either format says of a model before its tensors are looked at.

use super::{Activation, ArchError, Factors, LayerDesign, Pooling, Rope, RopeScaling, Routing};
use crate::MetadataError;

/// The numbers of a model, whichever file they came from.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) layers: u32,
    pub(super) heads: u32,
    pub(super) kv_heads: u32,
    pub(super) head_dim_k: u32,
    pub(super) head_dim_v: u32,
    pub(super) embedding: u32,
    /// Of layers without experts; 0 where there are none.
    pub(super) ffn: u32,
    pub(super) vocab: u32,
    pub(super) context_length: u32,
    pub(super) epsilon: f32,
    pub(super) activation: Activation,
    pub(super) embedding_scale: f32,
    pub(super) residual_scale: f32,
    pub(super) logit_scale: f32,
    pub(super) logit_cap: Option<f32>,
    pub(super) attention_scale: f32,
    pub(super) attention_cap: Option<f32>,
    pub(super) sees_ahead: bool,
    pub(super) ropes: Vec<Rope>,
    pub(super) design: Vec<LayerDesign>,
    pub(super) experts: Option<Experts>,
    /// Whether the file may leave the head out.
    pub(super) may_tie: bool,
    /// How a text's vectors become one, if the description says.
    pub(super) pooling: Option<Pooling>,
}

/// The experts of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Experts {
    pub(super) routing: Routing,
    /// Width of each.
    pub(super) ffn: u32,
}

/// The largest head, in elements; real ones have up to 256.
const MAX_HEAD_DIM: u32 = 4096;

/// Layers; real models have up to 126.
const MAX_LAYERS: u32 = 4096;

/// Experts of a layer; real models have up to 512.
const MAX_EXPERTS: u32 = 4096;

fn range(key: &str, found: u32, max: u32) -> Result<(), MetadataError> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    let allowed = format!("1 to {max}");
    Err(MetadataError::Range { key: key.to_owned(), found: found.to_string(), allowed })
}

fn odd(key: &str, found: impl ToString, allowed: &str) -> Result<(), MetadataError> {
    Err(MetadataError::Range { key: key.to_owned(), found: found.to_string(), allowed: allowed.to_owned() })
}

fn positive(key: &str, found: f32) -> Result<(), MetadataError> {
    if found.is_finite() && found > 0.0 { Ok(()) } else { odd(key, found, "over 0") }
}

/// Refuses more layers than a list of them may have, before there is one.
pub(super) fn check_layers(layers: u32) -> Result<u32, ArchError> {
    range("block_count", layers, MAX_LAYERS)?;
    Ok(layers)
}

/// What no number may be, whichever file it came from.
pub(super) fn check(n: &Numbers) -> Result<(), ArchError> {
    check_layers(n.layers)?;
    range("attention.head_count", n.heads, u32::MAX)?;
    range("attention.head_count_kv", n.kv_heads, n.heads)?;
    range("attention.key_length", n.head_dim_k, MAX_HEAD_DIM)?;
    range("attention.value_length", n.head_dim_v, MAX_HEAD_DIM)?;
    range("embedding_length", n.embedding, u32::MAX)?;
    if n.experts.is_none() {
        range("feed_forward_length", n.ffn, u32::MAX)?;
    }
    range("vocab_size", n.vocab, u32::MAX)?;
    range("context_length", n.context_length, u32::MAX)?;
    if !n.heads.is_multiple_of(n.kv_heads) {
        odd("attention.head_count_kv", n.kv_heads, "a divisor of attention.head_count")?;
    }
    if !(n.epsilon.is_finite() && n.epsilon >= 0.0) {
        odd("attention.layer_norm_epsilon", n.epsilon, "0 or more")?;
    }
    positive("attention.scale", n.attention_scale)?;
    for (key, scale) in [
        ("embedding_scale", n.embedding_scale),
        ("residual_scale", n.residual_scale),
        ("logit_scale", n.logit_scale),
    ] {
        positive(key, scale)?;
    }
    for (key, cap) in [("attn_logit_softcapping", n.attention_cap), ("final_logit_softcapping", n.logit_cap)]
    {
        cap.map_or(Ok(()), |cap| positive(key, cap))?;
    }
    n.ropes.iter().try_for_each(|rope| check_rope(rope, n.head_dim_k))?;
    for layer in &n.design {
        layer.window.map_or(Ok(()), |window| range("attention.sliding_window", window, u32::MAX))?;
    }
    if let Some(Experts { routing: Routing { experts, used, normalised: _ }, ffn }) = n.experts {
        range("expert_count", experts, MAX_EXPERTS)?;
        range("expert_used_count", used, experts)?;
        range("expert_feed_forward_length", ffn, u32::MAX)?;
    }
    Ok(())
}

fn check_rope(rope: &Rope, head_dim: u32) -> Result<(), MetadataError> {
    range("rope.dimension_count", rope.dims, head_dim)?;
    if !rope.dims.is_multiple_of(2) {
        odd("rope.dimension_count", rope.dims, "an even number")?;
    }
    positive("rope.freq_base", rope.theta)?;
    positive("rope.scaling.attn_factor", rope.magnitude)?;
    let positive = |x: f32| x.is_finite() && x > 0.0;
    let half = rope.dims as usize / 2;
    let whole = |factors: &Factors| match factors {
        // Its shape is looked at where it is found.
        Factors::Tensor(_) => true,
        Factors::Numbers(factors) => factors.len() == half && factors.iter().all(|f| positive(*f)),
    };
    match &rope.scaling {
        RopeScaling::None => Ok(()),
        RopeScaling::Factors(factors) if whole(factors) => Ok(()),
        RopeScaling::Linear { factor } if positive(*factor) => Ok(()),
        RopeScaling::Llama3 { factor, low, high, original_context }
            if positive(*factor)
                && positive(*low)
                && high.is_finite()
                && high > low
                && *original_context > 0 =>
        {
            Ok(())
        }
        RopeScaling::Yarn { factor, fast, slow, truncate: _, original_context }
            if positive(*factor)
                && positive(*slow)
                && fast.is_finite()
                && fast > slow
                && *original_context > 0
                && rope.theta > 1.0 =>
        {
            Ok(())
        }
        RopeScaling::LongRope { short, long, original_context }
            if *original_context > 0 && whole(short) && whole(long) =>
        {
            Ok(())
        }
        RopeScaling::Factors(_)
        | RopeScaling::Linear { .. }
        | RopeScaling::Llama3 { .. }
        | RopeScaling::Yarn { .. }
        | RopeScaling::LongRope { .. } => odd(
            "rope.scaling",
            crate::header::excerpt(&format!("{:?}", rope.scaling)),
            "factors over 0, one a pair, low below high, an original context",
        ),
    }
}
