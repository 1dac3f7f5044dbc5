//! The llama architecture: numbers and tensors of both formats.

mod config;
mod names;
#[cfg(test)]
mod tests;
mod weights;

use std::sync::Arc;

use names::Names;

use super::{ArchError, Architecture, Dims, Model, Rope, RopePairs, RopeScaling, TokenizerSpec};
use crate::{Header, Metadata, MetadataError, quantization};

/// What either format says before tensors are looked at.
#[derive(Clone, Debug)]
struct Numbers {
    layers: u32,
    heads: u32,
    kv_heads: u32,
    head_dim_k: u32,
    head_dim_v: u32,
    embedding: u32,
    ffn: u32,
    vocab: u32,
    context_length: u32,
    rms_epsilon: f32,
    rope: Rope,
    /// Whether the file may leave the head out.
    may_tie: bool,
}

pub(super) fn from_gguf(header: &Header) -> Result<Model, ArchError> {
    let metadata = &header.metadata;
    let tokenizer = TokenizerSpec::from_gguf(metadata)?.map(Arc::new);
    let chat_template = metadata.str("tokenizer.chat_template")?.map(Arc::from);
    let name = metadata.str("general.name")?.map(str::to_owned);
    let vocab = match &tokenizer {
        // The parser caps arrays far below this.
        Some(t) => u32::try_from(t.tokens.len()).unwrap_or(u32::MAX),
        None => metadata.require_u32("llama.vocab_size")?,
    };
    let numbers = gguf_numbers(metadata, vocab)?;
    let model = assemble(header, &numbers, &names::GGUF)?;
    Ok(Model { name, tokenizer, chat_template, ..model })
}

pub(super) fn from_safetensors(header: &Header, config: &serde_json::Value) -> Result<Model, ArchError> {
    let numbers = config::numbers(config)?;
    assemble(header, &numbers, &names::SAFETENSORS)
}

fn assemble(header: &Header, numbers: &Numbers, names: &Names) -> Result<Model, ArchError> {
    check(numbers)?;
    let found = weights::find(header, numbers, names)?;
    let mut rope = numbers.rope.clone();
    if let Some(factors) = found.rope_factors {
        if rope.scaling != RopeScaling::None {
            return Err(ArchError::Unsupported {
                feature: "rope scaling together with a tensor of rope factors",
                found: format!("{:?}", rope.scaling),
                remedy: "convert the model again",
            });
        }
        rope.scaling = RopeScaling::Factors(factors);
    }
    let Numbers {
        layers,
        heads,
        kv_heads,
        head_dim_k,
        head_dim_v,
        embedding,
        ffn,
        vocab,
        context_length,
        ..
    } = *numbers;
    Ok(Model {
        architecture: Architecture::Llama,
        format: header.format,
        name: None,
        quantization: quantization::of(header),
        parameters: found.parameters,
        min_file_bytes: header.min_file_bytes,
        dims: Dims {
            layers,
            heads,
            kv_heads,
            head_dim_k,
            head_dim_v,
            embedding,
            ffn,
            vocab,
            context_length,
            weights_f32_bytes: found.f32_bytes,
            weights_packed_bytes: found.packed_bytes,
        },
        rope,
        rms_epsilon: numbers.rms_epsilon,
        weights: found.weights,
        tokenizer: None,
        chat_template: None,
    })
}

fn gguf_numbers(m: &Metadata, vocab: u32) -> Result<Numbers, ArchError> {
    let refuse = |feature, key: &str, allowed: u32, remedy| match m.u32(key)? {
        Some(found) if found > allowed => {
            Err(ArchError::Unsupported { feature, found: found.to_string(), remedy })
        }
        _ => Ok(()),
    };
    refuse("a mixture of experts", "llama.expert_count", 0, "use a dense model")?;
    refuse("a model split over files", "split.count", 1, "merge the files into one")?;

    let heads = m.require_u32("llama.attention.head_count")?;
    let embedding = m.require_u32("llama.embedding_length")?;
    let head_dim = embedding.checked_div(heads).unwrap_or(0);
    let head_dim_k = m.u32("llama.attention.key_length")?.unwrap_or(head_dim);
    attention_scale(m, head_dim_k)?;
    Ok(Numbers {
        layers: m.require_u32("llama.block_count")?,
        heads,
        kv_heads: per_layer(m, "llama.attention.head_count_kv")?.unwrap_or(heads),
        head_dim_k,
        head_dim_v: m.u32("llama.attention.value_length")?.unwrap_or(head_dim),
        embedding,
        ffn: per_layer(m, "llama.feed_forward_length")?.unwrap_or(0),
        vocab,
        context_length: m.require_u32("llama.context_length")?,
        rms_epsilon: m.require_f32("llama.attention.layer_norm_rms_epsilon")?,
        rope: Rope {
            theta: m.f32("llama.rope.freq_base")?.unwrap_or(10_000.0),
            dims: m.u32("llama.rope.dimension_count")?.unwrap_or(head_dim_k),
            pairs: RopePairs::Adjacent,
            scaling: gguf_scaling(m)?,
        },
        may_tie: true,
    })
}

/// Refuses another scale than one over the root of the head's size, which a file
/// may write down, or write 0 for.
fn attention_scale(m: &Metadata, head_dim_k: u32) -> Result<(), ArchError> {
    let usual = 1.0 / f64::from(head_dim_k).sqrt();
    let is_usual = |found: f32| found == 0.0 || (f64::from(found) - usual).abs() <= 1e-4 * usual;
    match m.f32("llama.attention.scale")? {
        Some(found) if !is_usual(found) => Err(ArchError::Unsupported {
            feature: "attention with a scale of its own",
            found: found.to_string(),
            remedy: "use a model with the usual one",
        }),
        _ => Ok(()),
    }
}

/// A number that a file may give once, or once a layer if it is always the same.
fn per_layer(m: &Metadata, key: &'static str) -> Result<Option<u32>, ArchError> {
    let Some(crate::Value::Array(_)) = m.get(key) else { return Ok(m.u32(key)?) };
    let all = m.require_u64s(key)?;
    match all.first() {
        Some(first) if all.iter().all(|n| n == first) => Ok(u32::try_from(*first).ok()),
        _ => Err(ArchError::Unsupported {
            feature: "layers of different sizes",
            found: key.to_owned(),
            remedy: "use a model whose layers are alike",
        }),
    }
}

fn gguf_scaling(m: &Metadata) -> Result<RopeScaling, ArchError> {
    let factor = match m.f32("llama.rope.scaling.factor")? {
        Some(factor) => factor,
        None => m.f32("llama.rope.scale_linear")?.unwrap_or(1.0),
    };
    match m.str("llama.rope.scaling.type")? {
        // Files write a factor of 0 or 1 for none.
        None | Some("linear") if factor == 0.0 || factor == 1.0 => Ok(RopeScaling::None),
        None | Some("linear") => Ok(RopeScaling::Linear { factor }),
        Some("none") => Ok(RopeScaling::None),
        Some(other) => Err(unknown_scaling(other)),
    }
}

fn unknown_scaling(found: &str) -> ArchError {
    ArchError::Unsupported {
        feature: "this kind of rope scaling",
        found: crate::header::excerpt(found),
        remedy: "supported are none, linear, llama3 and a tensor of factors",
    }
}

/// The largest head, in elements; real ones have up to 256.
const MAX_HEAD_DIM: u32 = 4096;

/// Decoder layers; real models have up to 126.
const MAX_LAYERS: u32 = 4096;

/// What no number may be, whichever file it came from.
fn check(n: &Numbers) -> Result<(), ArchError> {
    let range = |key: &str, found: u32, max: u32| {
        if (1..=max).contains(&found) {
            return Ok(());
        }
        let allowed = format!("1 to {max}");
        Err(MetadataError::Range { key: key.to_owned(), found: found.to_string(), allowed })
    };
    range("block_count", n.layers, MAX_LAYERS)?;
    range("attention.head_count", n.heads, u32::MAX)?;
    range("attention.head_count_kv", n.kv_heads, n.heads)?;
    range("attention.key_length", n.head_dim_k, MAX_HEAD_DIM)?;
    range("attention.value_length", n.head_dim_v, MAX_HEAD_DIM)?;
    range("embedding_length", n.embedding, u32::MAX)?;
    range("feed_forward_length", n.ffn, u32::MAX)?;
    range("vocab_size", n.vocab, u32::MAX)?;
    range("context_length", n.context_length, u32::MAX)?;
    range("rope.dimension_count", n.rope.dims, n.head_dim_k)?;
    let odd = |key: &str, found: String, allowed: &str| {
        Err(MetadataError::Range { key: key.to_owned(), found, allowed: allowed.to_owned() }.into())
    };
    if !n.heads.is_multiple_of(n.kv_heads) {
        return odd("attention.head_count_kv", n.kv_heads.to_string(), "a divisor of attention.head_count");
    }
    if !n.rope.dims.is_multiple_of(2) {
        return odd("rope.dimension_count", n.rope.dims.to_string(), "an even number");
    }
    if !(n.rms_epsilon.is_finite() && n.rms_epsilon >= 0.0) {
        return odd("attention.layer_norm_rms_epsilon", n.rms_epsilon.to_string(), "0 or more");
    }
    if !(n.rope.theta.is_finite() && n.rope.theta > 0.0) {
        return odd("rope.freq_base", n.rope.theta.to_string(), "over 0");
    }
    let positive = |x: f32| x.is_finite() && x > 0.0;
    match n.rope.scaling {
        RopeScaling::None | RopeScaling::Factors(_) => {}
        RopeScaling::Linear { factor } if positive(factor) => {}
        RopeScaling::Llama3 { factor, low, high, original_context }
            if positive(factor)
                && positive(low)
                && high.is_finite()
                && high > low
                && original_context > 0 => {}
        RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => {
            return odd("rope.scaling", format!("{:?}", n.rope.scaling), "factors over 0, low below high");
        }
    }
    Ok(())
}
