//! The numbers of a model from a `config.json`.

mod scaling;

use scaling::scaling;
use serde_json::Value;

use super::family::{Family, TurnRule, WindowRule};
use super::numbers::{Experts, Numbers, check_layers};
use super::{Activation, ArchError, LayerDesign, Pooling, Rope, RopeScaling, Routing};
use crate::Format;

/// An object of the description. A value of `null` counts as none.
#[derive(Clone, Copy)]
struct Object<'a> {
    value: &'a Value,
    /// What it is called in messages, with a dot behind it.
    path: &'a str,
}

impl<'a> Object<'a> {
    fn get(self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    fn wrong(self, key: &str, found: &Value, wanted: &str) -> ArchError {
        let found = crate::header::excerpt(&found.to_string());
        ArchError::Config(format!("`{}{key}` is {found}; it must be {wanted}", self.path))
    }

    fn read<T>(
        self,
        key: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ArchError> {
        let of = |value| read(value).ok_or_else(|| self.wrong(key, value, wanted));
        self.get(key).map(of).transpose()
    }

    fn u32(self, key: &str) -> Result<Option<u32>, ArchError> {
        let small = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        self.read(key, "an integer from 0 to 4294967295", small)
    }

    fn f32(self, key: &str) -> Result<Option<f32>, ArchError> {
        self.read(key, "a number", |value| value.as_f64().map(|x| x as f32))
    }

    fn bool(self, key: &str) -> Result<Option<bool>, ArchError> {
        self.read(key, "true or false", Value::as_bool)
    }

    fn str(self, key: &str) -> Result<Option<&'a str>, ArchError> {
        self.read(key, "a string", Value::as_str)
    }

    fn list(self, key: &str) -> Result<Option<&'a [Value]>, ArchError> {
        self.read(key, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    fn f32s(self, key: &str) -> Result<Option<Vec<f32>>, ArchError> {
        let numbers = |value: &Value| {
            value.as_array()?.iter().map(|x| x.as_f64().map(|x| x as f32)).collect::<Option<Vec<_>>>()
        };
        self.read(key, "a list of numbers", numbers)
    }

    /// The first of several names of the same thing.
    fn first<T>(
        self,
        keys: &[&str],
        read: impl Fn(Self, &str) -> Result<Option<T>, ArchError>,
    ) -> Result<Option<T>, ArchError> {
        keys.iter().find_map(|key| read(self, key).transpose()).transpose()
    }

    fn require<T>(
        self,
        keys: &[&str],
        read: impl Fn(Self, &str) -> Result<Option<T>, ArchError>,
    ) -> Result<T, ArchError> {
        let missing = || ArchError::Config(format!("`{}{}` is missing", self.path, keys[0]));
        self.first(keys, read)?.ok_or_else(missing)
    }
}

pub(super) fn numbers(config: &Value, family: &Family) -> Result<Numbers, ArchError> {
    let c = Object { value: config, path: "" };
    let u32 = Object::u32;
    let layers = check_layers(c.require(&["num_hidden_layers", "n_layer"], u32)?)?;
    let heads = c.require(&["num_attention_heads", "n_head"], u32)?;
    let embedding = c.require(&["hidden_size", "n_embd"], u32)?;
    let head_dim = match c.u32("head_dim")? {
        Some(head_dim) => head_dim,
        None => embedding.checked_div(heads).unwrap_or(0),
    };
    let context_length = c.require(&["max_position_embeddings", "n_positions"], u32)?;
    let epsilon = match family.norm {
        super::NormKind::Rms => "rms_norm_eps",
        super::NormKind::Layer => "layer_norm_eps",
    };
    let windows = windows(c, family, layers)?;
    let (ropes, turns) = ropes(c, family, head_dim, context_length, &windows)?;
    let design = windows.iter().zip(turns).map(|(window, rope)| LayerDesign { window: *window, rope });
    let multiplier = |key| if family.multipliers { c.f32(key) } else { Ok(None) };
    let ffn = c.first(&["intermediate_size", "n_inner"], u32)?.unwrap_or(0);
    let scale = match c.f32("query_pre_attn_scalar")? {
        Some(scalar) => scalar.sqrt().recip(),
        None => multiplier("attention_multiplier")?.unwrap_or((head_dim as f32).sqrt().recip()),
    };
    Ok(Numbers {
        layers,
        heads,
        kv_heads: c.u32("num_key_value_heads")?.unwrap_or(heads),
        head_dim_k: head_dim,
        head_dim_v: head_dim,
        embedding,
        ffn,
        vocab: c.require(&["vocab_size"], u32)?,
        context_length,
        epsilon: c.require(&[epsilon, "layer_norm_epsilon"], Object::f32)?,
        activation: activation(c, family)?,
        embedding_scale: match multiplier("embedding_multiplier")? {
            Some(scale) => scale,
            None if family.root_scale => (embedding as f32).sqrt(),
            None => 1.0,
        },
        residual_scale: multiplier("residual_multiplier")?.unwrap_or(1.0),
        logit_scale: multiplier("logits_scaling")?.map_or(1.0, f32::recip),
        logit_cap: c.f32("final_logit_softcapping")?,
        attention_scale: scale,
        attention_cap: c.f32("attn_logit_softcapping")?,
        sees_ahead: family.encoder,
        ropes,
        design: design.collect(),
        experts: experts(c, ffn)?,
        may_tie: c.bool("tie_word_embeddings")?.unwrap_or(true),
        pooling: None,
    })
}

fn activation(c: Object<'_>, family: &Family) -> Result<Activation, ArchError> {
    let name = c.first(&["hidden_activation", "hidden_act", "activation_function"], Object::str)?;
    match name {
        None => Ok(family.activation),
        Some("silu" | "swish" | "swiglu") => Ok(Activation::Silu),
        Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => Ok(Activation::GeluTanh),
        Some(other) => Err(ArchError::Unsupported {
            feature: "this activation",
            found: crate::header::excerpt(other),
            remedy: "supported are silu, gelu and gelu_pytorch_tanh",
        }),
    }
}

/// Each layer's window.
fn windows(c: Object<'_>, family: &Family, layers: u32) -> Result<Vec<Option<u32>>, ArchError> {
    let none = || Ok(vec![None; layers as usize]);
    let Some(window) = c.u32("sliding_window")?.filter(|window| *window > 0) else { return none() };
    if let Some(types) = c.list("layer_types")? {
        let of = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") => Ok(Some(window)),
            _ => Err(c.wrong("layer_types", kind, "a list of `full_attention` and `sliding_attention`")),
        };
        let windows = types.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        return match u32::try_from(windows.len()) {
            Ok(count) if count == layers => Ok(windows),
            _ => Err(ArchError::Config(format!("`layer_types` names {} of {layers} layers", windows.len()))),
        };
    }
    let but_every = |n: u32| {
        let window = |layer: u32| (n == 0 || layer % n < n - 1).then_some(window);
        Ok((0..layers).map(window).collect())
    };
    match family.windows {
        WindowRule::All => Ok(vec![Some(window); layers as usize]),
        WindowRule::ButEvery(n) => but_every(c.u32("sliding_window_pattern")?.unwrap_or(n)),
        WindowRule::Qwen if c.bool("use_sliding_window")? != Some(true) => none(),
        WindowRule::Qwen => {
            let first = c.u32("max_window_layers")?.unwrap_or(layers);
            Ok((0..layers).map(|layer| (layer >= first).then_some(window)).collect())
        }
    }
}

/// The position embeddings, and which of them each layer has.
fn ropes(
    c: Object<'_>,
    family: &Family,
    head_dim: u32,
    context_length: u32,
    windows: &[Option<u32>],
) -> Result<(Vec<Rope>, Vec<Option<usize>>), ArchError> {
    let all = Object { value: c.get("rope_parameters").unwrap_or(&Value::Null), path: "rope_parameters." };
    let kind = |key: &str| match all.get(key) {
        Some(value) => Object { value, path: "rope_parameters." },
        None => all,
    };
    let rope = |parameters| rope(c, parameters, family, head_dim, context_length);
    let layers = windows.len();
    Ok(match family.turns {
        TurnRule::Never => (Vec::new(), vec![None; layers]),
        TurnRule::All => (vec![rope(all)?], vec![Some(0); layers]),
        TurnRule::ButEveryFourth => {
            let turned = match c.list("no_rope_layers")? {
                None => (1..=layers).map(|layer| layer % 4 != 0).collect::<Vec<_>>(),
                Some(list) => list.iter().map(|turned| turned.as_u64() == Some(1)).collect(),
            };
            let turned = turned.into_iter().chain(std::iter::repeat(true)).take(layers);
            (vec![rope(all)?], turned.map(|turned| turned.then_some(0)).collect())
        }
        TurnRule::Local(theta) => {
            let local = kind("sliding_attention");
            let theta = match local.f32("rope_theta")?.filter(|_| all.get("sliding_attention").is_some()) {
                Some(theta) => theta,
                None => c.f32("rope_local_base_freq")?.unwrap_or(theta),
            };
            let global = rope(kind("full_attention"))?;
            let local = Rope { theta, scaling: RopeScaling::None, magnitude: 1.0, ..global.clone() };
            let of = windows.iter().map(|window| Some(usize::from(window.is_some())));
            (vec![global, local], of.collect())
        }
    })
}

/// One position embedding. Older descriptions have its parts side by side with the
/// other keys.
fn rope(
    c: Object<'_>,
    parameters: Object<'_>,
    family: &Family,
    head_dim: u32,
    context_length: u32,
) -> Result<Rope, ArchError> {
    let older = Object { value: c.get("rope_scaling").unwrap_or(&Value::Null), path: "rope_scaling." };
    let either = |key: &str| if parameters.get(key).is_some() { parameters } else { c };
    let stretch = if parameters.get("rope_type").is_some() { parameters } else { older };
    let part = either("partial_rotary_factor").f32("partial_rotary_factor")?.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&part) {
        let found = Value::from(part);
        return Err(c.wrong("partial_rotary_factor", &found, "from 0 to 1"));
    }
    let theta = match either("rope_theta").f32("rope_theta")? {
        Some(theta) => theta,
        None => c.first(&["rotary_emb_base"], Object::f32)?.unwrap_or(10_000.0),
    };
    // Truncated, as by those who trained it.
    let dims = (f64::from(head_dim) * f64::from(part)) as u32;
    let (scaling, magnitude) = scaling(c, stretch, context_length)?;
    Ok(Rope { theta, dims, pairs: family.pairs(Format::Safetensors), scaling, magnitude })
}

/// How a text's vectors become one, from a `1_Pooling/config.json`.
pub(super) fn pooling(config: &Value) -> Result<Pooling, ArchError> {
    let c = Object { value: config, path: "pooling." };
    let modes = [
        (Pooling::Mean, "pooling_mode_mean_tokens", "mean"),
        (Pooling::First, "pooling_mode_cls_token", "cls"),
        (Pooling::Last, "pooling_mode_lasttoken", "lasttoken"),
    ];
    let named = c.str("pooling_mode")?;
    for (pooling, flag, name) in modes {
        if c.bool(flag)? == Some(true) || named == Some(name) {
            return Ok(pooling);
        }
    }
    Err(ArchError::Unsupported {
        feature: "this way of pooling",
        found: crate::header::excerpt(&config.to_string()),
        remedy: "supported are mean, cls and lasttoken, each alone",
    })
}

fn experts(c: Object<'_>, ffn: u32) -> Result<Option<Experts>, ArchError> {
    let Some(experts) = c.first(&["num_local_experts", "num_experts"], Object::u32)?.filter(|n| *n > 0)
    else {
        return Ok(None);
    };
    let width = c.u32("moe_intermediate_size")?;
    let routing = Routing {
        experts,
        used: c.require(&["num_experts_per_tok"], Object::u32)?,
        // Descriptions that have the key have it false where it is left out; those
        // without it are of models that always do.
        normalised: c.bool("norm_topk_prob")?.unwrap_or(width.is_none()),
    };
    Ok(Some(Experts { routing, ffn: width.unwrap_or(ffn) }))
}
