//! The numbers of a model from GGUF metadata.

use super::family::{Family, TurnRule, WindowRule};
use super::numbers::{Experts, Numbers, check_layers};
use super::rope::yarn_magnitude;
use super::{ArchError, Factors, LayerDesign, Pooling, Rope, RopeScaling, Routing};
use crate::{Array, Header, Metadata, Value};

/// Metadata whose keys begin with the family's name.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn u32(&self, key: &str) -> Result<Option<u32>, ArchError> {
        Ok(self.metadata.u32(&self.name(key))?)
    }

    fn require_u32(&self, key: &str) -> Result<u32, ArchError> {
        Ok(self.metadata.require_u32(&self.name(key))?)
    }

    fn f32(&self, key: &str) -> Result<Option<f32>, ArchError> {
        Ok(self.metadata.f32(&self.name(key))?)
    }

    fn str(&self, key: &str) -> Result<Option<&str>, ArchError> {
        Ok(self.metadata.str(&self.name(key))?)
    }

    fn bool(&self, key: &str) -> Result<Option<bool>, ArchError> {
        Ok(self.metadata.bool(&self.name(key))?)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&self.name(key))
    }

    /// A float of which files write 0 for none.
    fn nonzero(&self, key: &str) -> Result<Option<f32>, ArchError> {
        Ok(self.f32(key)?.filter(|x| *x != 0.0))
    }

    /// A number that a file may give once, or once a layer if it is always the same.
    fn alike(&self, key: &'static str) -> Result<Option<u32>, ArchError> {
        let Some(Value::Array(_)) = self.get(key) else { return self.u32(key) };
        let all = self.metadata.require_u64s(&self.name(key))?;
        match all.first() {
            Some(first) if all.iter().all(|n| n == first) => Ok(u32::try_from(*first).ok()),
            _ => Err(ArchError::Unsupported {
                feature: "layers of different sizes",
                found: self.name(key),
                remedy: "use a model whose layers are alike",
            }),
        }
    }
}

/// Reads the numbers; `vocab` is the size of the vocabulary, where the file has one.
pub(super) fn numbers(
    header: &Header,
    family: &'static Family,
    vocab: Option<u32>,
) -> Result<Numbers, ArchError> {
    let metadata = &header.metadata;
    if let Some(found) = metadata.u32("split.count")?.filter(|count| *count > 1) {
        return Err(ArchError::Unsupported {
            feature: "a model split over files",
            found: found.to_string(),
            remedy: "merge the files into one",
        });
    }
    let keys = Keys { metadata, prefix: family.gguf.unwrap_or_default() };
    let layers = check_layers(keys.require_u32("block_count")?)?;
    let heads = keys.require_u32("attention.head_count")?;
    let embedding = keys.require_u32("embedding_length")?;
    let head_dim = embedding.checked_div(heads).unwrap_or(0);
    let head_dim_k = keys.u32("attention.key_length")?.unwrap_or(head_dim);
    let epsilon = match family.norm {
        super::NormKind::Rms => "attention.layer_norm_rms_epsilon",
        super::NormKind::Layer => "attention.layer_norm_epsilon",
    };
    let windows = windows(&keys, family, layers)?;
    let (ropes, turns) = ropes(&keys, family, head_dim_k, &windows)?;
    let design = windows.iter().zip(turns).map(|(window, rope)| LayerDesign { window: *window, rope });
    let [attention_cap, logit_cap] = family.gguf_caps;
    let multiplier = |key| if family.multipliers { keys.f32(key) } else { Ok(None) };
    let ffn = keys.alike("feed_forward_length")?.unwrap_or(0);
    Ok(Numbers {
        layers,
        heads,
        kv_heads: keys.alike("attention.head_count_kv")?.unwrap_or(heads),
        head_dim_k,
        head_dim_v: keys.u32("attention.value_length")?.unwrap_or(head_dim),
        embedding,
        ffn,
        vocab: match vocab {
            Some(tokens) => tokens,
            None => keys.require_u32("vocab_size")?,
        },
        context_length: keys.require_u32("context_length")?,
        epsilon: metadata.require_f32(&keys.name(epsilon))?,
        activation: family.activation,
        embedding_scale: match multiplier("embedding_scale")? {
            Some(scale) => scale,
            None if family.root_scale => (embedding as f32).sqrt(),
            None => 1.0,
        },
        residual_scale: multiplier("residual_scale")?.unwrap_or(1.0),
        logit_scale: multiplier("logit_scale")?.map_or(1.0, f32::recip),
        attention_scale: match keys.nonzero("attention.scale")? {
            Some(scale) => scale,
            None if family.odd_scale_layers == Some(layers) => (head_dim as f32).sqrt().recip(),
            None => (head_dim_k as f32).sqrt().recip(),
        },
        attention_cap: keys.f32("attn_logit_softcapping")?.or(attention_cap).filter(|cap| *cap != 0.0),
        logit_cap: keys.f32("final_logit_softcapping")?.or(logit_cap).filter(|cap| *cap != 0.0),
        sees_ahead: keys.bool("attention.causal")?.map_or(family.encoder, |causal| !causal),
        ropes,
        design: design.collect(),
        experts: experts(&keys, ffn)?,
        may_tie: true,
        pooling: pooling(&keys)?,
    })
}

/// Each layer's window.
fn windows(keys: &Keys<'_>, family: &Family, layers: u32) -> Result<Vec<Option<u32>>, ArchError> {
    let Some(window) = keys.u32("attention.sliding_window")?.filter(|window| *window > 0) else {
        return Ok(vec![None; layers as usize]);
    };
    let every = |n: u32| move |layer: u32| n == 0 || layer % n < n - 1;
    let pattern = "attention.sliding_window_pattern";
    let has_window: Box<dyn Fn(u32) -> bool> = match keys.get(pattern) {
        Some(Value::Array(Array::Bool(layers))) => {
            Box::new(|layer| layers.get(layer as usize).copied().unwrap_or(false))
        }
        Some(_) => Box::new(every(keys.require_u32(pattern)?)),
        None => match family.windows {
            WindowRule::All | WindowRule::Qwen => Box::new(|_| true),
            WindowRule::ButEvery(n) => Box::new(every(n)),
        },
    };
    Ok((0..layers).map(|layer| has_window(layer).then_some(window)).collect())
}

/// The position embeddings, and which of them each layer has.
fn ropes(
    keys: &Keys<'_>,
    family: &Family,
    head_dim_k: u32,
    windows: &[Option<u32>],
) -> Result<(Vec<Rope>, Vec<Option<usize>>), ArchError> {
    let (scaling, magnitude) = scaling(keys)?;
    let rope = Rope {
        theta: keys.f32("rope.freq_base")?.unwrap_or(10_000.0),
        dims: keys.u32("rope.dimension_count")?.unwrap_or(head_dim_k),
        pairs: family.pairs(crate::Format::Gguf),
        scaling,
        magnitude: magnitude * keys.nonzero("rope.scaling.attn_factor")?.unwrap_or(1.0),
    };
    let layers = windows.iter();
    Ok(match family.turns {
        TurnRule::Never => (Vec::new(), vec![None; windows.len()]),
        TurnRule::All => (vec![rope], vec![Some(0); windows.len()]),
        TurnRule::ButEveryFourth => {
            (vec![rope], (1..=windows.len()).map(|layer| (layer % 4 != 0).then_some(0)).collect())
        }
        TurnRule::Local(theta) => {
            let theta = keys.f32("rope.freq_base_swa")?.unwrap_or(theta);
            let local = Rope { theta, scaling: RopeScaling::None, magnitude: 1.0, ..rope.clone() };
            (vec![rope, local], layers.map(|window| Some(usize::from(window.is_some()))).collect())
        }
    })
}

/// The stretch that the metadata names, and what turned elements are multiplied with for
/// it; factors in tensors are looked for later.
fn scaling(keys: &Keys<'_>) -> Result<(RopeScaling, f32), ArchError> {
    let factor = match keys.f32("rope.scaling.factor")? {
        Some(factor) => factor,
        None => keys.f32("rope.scale_linear")?.unwrap_or(1.0),
    };
    let scaling = match keys.str("rope.scaling.type")? {
        // Files write a factor of 0 or 1 for none.
        None | Some("linear") if factor == 0.0 || factor == 1.0 => RopeScaling::None,
        None | Some("linear") => RopeScaling::Linear { factor },
        // The factors are in tensors.
        Some("none" | "longrope") => RopeScaling::None,
        Some("yarn") => return Ok((yarn(keys, factor)?, yarn_magnitude(factor, 1.0))),
        Some(other) => return Err(unknown_scaling(other)),
    };
    Ok((scaling, 1.0))
}

fn yarn(keys: &Keys<'_>, factor: f32) -> Result<RopeScaling, ArchError> {
    let blend = keys.f32("rope.scaling.yarn_ext_factor")?.unwrap_or(1.0);
    if blend != 1.0 {
        return Err(ArchError::Unsupported {
            feature: "a part of the YaRN stretch",
            found: blend.to_string(),
            remedy: "supported is an extrapolation factor of 1",
        });
    }
    let original = keys.u32("rope.scaling.original_context_length")?.filter(|context| *context > 0);
    Ok(RopeScaling::Yarn {
        factor,
        fast: keys.nonzero("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        slow: keys.nonzero("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        truncate: true,
        original_context: original.map_or_else(|| keys.require_u32("context_length"), Ok)?,
    })
}

pub(super) fn unknown_scaling(found: &str) -> ArchError {
    ArchError::Unsupported {
        feature: "this kind of rope scaling",
        found: crate::header::excerpt(found),
        remedy: "supported are none, linear, llama3, yarn, longrope and a tensor of factors",
    }
}

/// The stretch that tensors of factors make: for all contexts, or for short and long ones.
pub(super) fn tensor_scaling(
    header: &Header,
    family: &Family,
    tensors: [Option<crate::Tensor>; 3],
) -> Result<Option<RopeScaling>, ArchError> {
    let keys = Keys { metadata: &header.metadata, prefix: family.gguf.unwrap_or_default() };
    let long_context = |key| keys.require_u32(key);
    Ok(match tensors.map(|tensor| tensor.map(Factors::Tensor)) {
        [None, None, None] => None,
        [Some(factors), None, None] => Some(RopeScaling::Factors(factors)),
        [None, Some(short), Some(long)] => Some(RopeScaling::LongRope {
            short,
            long,
            original_context: long_context("rope.scaling.original_context_length")?,
        }),
        [all, short, long] => {
            let count = [all, short, long].iter().flatten().count();
            return Err(ArchError::Unsupported {
                feature: "this choice of tensors with rope factors",
                found: count.to_string(),
                remedy: "convert the model again",
            });
        }
    })
}

fn experts(keys: &Keys<'_>, ffn: u32) -> Result<Option<Experts>, ArchError> {
    let Some(experts) = keys.u32("expert_count")?.filter(|count| *count > 0) else { return Ok(None) };
    /// What scores are made with: softmax.
    const SOFTMAX: u32 = 1;
    if let Some(other) = keys.u32("expert_gating_func")?.filter(|f| ![0, SOFTMAX].contains(f)) {
        return Err(ArchError::Unsupported {
            feature: "this way to choose experts",
            found: other.to_string(),
            remedy: "use a model that chooses them by a softmax",
        });
    }
    let routing = Routing {
        experts,
        used: keys.require_u32("expert_used_count")?,
        normalised: keys.bool("expert_weights_norm")?.unwrap_or(true),
    };
    Ok(Some(Experts { routing, ffn: keys.alike("expert_feed_forward_length")?.unwrap_or(ffn) }))
}

fn pooling(keys: &Keys<'_>) -> Result<Option<Pooling>, ArchError> {
    match keys.u32("pooling_type")? {
        None | Some(0) => Ok(None),
        Some(1) => Ok(Some(Pooling::Mean)),
        Some(2) => Ok(Some(Pooling::First)),
        Some(3) => Ok(Some(Pooling::Last)),
        Some(other) => Err(ArchError::Unsupported {
            feature: "this way to make one vector of many",
            found: format!("pooling type {other}"),
            remedy: "supported are none, mean, first and last",
        }),
    }
}
