//! The tiny checkpoints of every family, in both formats and both ways to describe them.

use proptest::prelude::*;
use serde_json::json;

use crate::testing::{FamilyGolden, GgufBuilder, family_goldens};
use crate::{
    ArchError, DType, Format, Header, Model, Progress, Purpose, RopeScaling, Value, gguf, safetensors,
};

use super::super::{Design, Factors, FfnWeights, Pooling, Rope};
use super::{header, model};

fn safetensors_header(golden: &FamilyGolden) -> Header {
    let bytes = golden.safetensors(DType::BF16);
    match safetensors::parse(&bytes, Some(bytes.len() as u64)) {
        Ok(Progress::Done(header)) => *header,
        other => panic!("{other:?}"),
    }
}

fn described(golden: &FamilyGolden, config: &serde_json::Value) -> Result<Model, ArchError> {
    let pooling = match golden.pooling.as_deref() {
        None => None,
        Some("mean") => Some(json!({"pooling_mode": "mean"})),
        Some("first") => Some(json!({"pooling_mode_cls_token": true})),
        Some(_) => Some(json!({"pooling_mode_lasttoken": true})),
    };
    let pooling = pooling.map(|json| json.to_string());
    let pooling = pooling.as_deref().map(str::as_bytes);
    Model::from_safetensors(&safetensors_header(golden), config.to_string().as_bytes(), pooling)
}

fn golden(name: &str) -> FamilyGolden {
    family_goldens().into_iter().find(|golden| golden.name == name).unwrap()
}

/// What a rope does, whatever the file says it with.
fn turns(rope: &Rope, context: u32) -> Vec<f64> {
    match rope.factors(context) {
        Some(Factors::Numbers(numbers)) => rope.frequencies(numbers),
        Some(Factors::Tensor(_)) => Vec::new(),
        None => rope.frequencies(&[]),
    }
}

#[test]
fn both_formats_say_the_same() {
    for golden in family_goldens() {
        let a = described(&golden, &golden.config).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        let b = model(&golden.gguf(DType::BF16)).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        assert_eq!((a.format, b.format), (Format::Safetensors, Format::Gguf));
        let sizes = |m: &Model| crate::Dims { weights_f32_bytes: 0, weights_packed_bytes: 0, ..m.dims };
        assert_eq!(sizes(&a), sizes(&b), "{}", golden.name);
        // Scales are roots, taken in another order; ropes have factors in tensors.
        let plain = |m: &Model| Design { ropes: Vec::new(), attention_scale: 1.0, ..m.design.clone() };
        assert_eq!(plain(&a), plain(&b), "{}", golden.name);
        assert!((a.design.attention_scale / b.design.attention_scale - 1.0).abs() < 1e-6);
        assert_eq!(a.design.ropes.len(), b.design.ropes.len());
        for (a, b) in a.design.ropes.iter().zip(&b.design.ropes) {
            assert_eq!(a.dims, b.dims, "{}", golden.name);
            assert!((a.magnitude - b.magnitude).abs() < 1e-6, "{}", golden.name);
            let in_tensors =
                matches!(b.scaling, RopeScaling::Factors(Factors::Tensor(_)) | RopeScaling::LongRope { .. });
            assert!(in_tensors || turns(a, 64) == turns(b, 64), "{}", golden.name);
        }
    }
}

#[test]
fn what_a_family_has_is_found() {
    let of = |name: &str| {
        let golden = golden(name);
        described(&golden, &golden.config).unwrap()
    };
    let windows = |m: &Model| m.design.layers.iter().map(|layer| layer.window).collect::<Vec<_>>();
    let gemma3 = of("gemma3");
    assert_eq!((gemma3.dims.windowed_layers, gemma3.dims.window), (6, 6));
    assert_eq!((windows(&gemma3)[5], windows(&gemma3)[6]), (None, Some(6)));
    assert_eq!(
        gemma3.design.layers.iter().map(|l| l.rope).collect::<Vec<_>>()[4..],
        [Some(1), Some(0), Some(1)]
    );
    assert_eq!(gemma3.design.embedding_scale, 48f32.sqrt());
    let gemma2 = of("gemma2");
    assert_eq!(windows(&gemma2), [Some(6), None, Some(6)]);
    assert_eq!((gemma2.design.attention_cap, gemma2.design.logit_cap), (Some(3.0), Some(4.0)));
    let smollm3 = of("smollm3");
    assert_eq!(smollm3.design.layers.iter().filter(|layer| layer.rope.is_none()).count(), 1);
    assert_eq!(smollm3.design.layers[3].rope, None);
    let mixtral = of("mixtral");
    let FfnWeights::Experts { gate, .. } = &mixtral.weights.layers[1].ffn else { panic!("no experts") };
    assert_eq!((gate.len(), mixtral.dims.ffn), (5, 2 * 72));
    let phi3 = of("phi3");
    assert_eq!(phi3.design.ropes[0].dims, 12);
    let Some(Factors::Numbers(long)) = phi3.design.ropes[0].factors(33) else { panic!("no factors") };
    assert_eq!((long[5], phi3.design.ropes[0].factors(32) == phi3.design.ropes[0].factors(1)), (16.0, true));
    let granite = of("granite");
    assert_eq!((granite.design.residual_scale, granite.design.logit_scale), (0.22, 1.0 / 3.0));
    assert_eq!(of("qwen3-embedding").purpose(), Purpose::Embed(Pooling::Last));
    let nomic = of("nomic-bert");
    assert_eq!((nomic.purpose(), nomic.dims.sees_ahead), (Purpose::Embed(Pooling::First), true));
}

#[test]
fn older_descriptions_mean_the_same() {
    // What changes in the config, and what is taken out of it.
    let rope = |golden: &FamilyGolden| golden.config["rope_parameters"].clone();
    let llama3 = golden("llama3");
    let mut scaling = rope(&llama3);
    scaling.as_object_mut().unwrap().remove("rope_theta");
    let phi3 = golden("phi3");
    let phi3_rope = rope(&phi3);
    let mixtral = golden("mixtral");
    let qwen2 = golden("qwen2");
    let cases = [
        (&llama3, json!({"rope_theta": 5000.0, "rope_scaling": scaling}), vec!["rope_parameters"]),
        (
            &golden("gemma3"),
            json!({"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
            vec!["rope_parameters", "layer_types"],
        ),
        (&golden("gemma2"), json!({"rope_theta": 1e4}), vec!["rope_parameters", "layer_types"]),
        (
            &phi3,
            json!({"rope_theta": 1e4, "partial_rotary_factor": 0.75, "rope_scaling": {"type": "su",
                "short_factor": phi3_rope["short_factor"], "long_factor": phi3_rope["long_factor"]}}),
            vec!["rope_parameters"],
        ),
        (&golden("mistral"), json!({"rope_theta": 10000.0}), vec!["rope_parameters", "head_dim"]),
        (&mixtral, json!({"num_experts": 5}), vec!["num_local_experts", "tie_word_embeddings"]),
        (&qwen2, json!({"use_sliding_window": false, "sliding_window": 4}), vec!["layer_types"]),
        (&golden("smollm3"), json!({}), vec!["no_rope_layers", "layer_types"]),
        (
            &golden("nomic-bert"),
            json!({"n_embd": 48, "n_layer": 2, "n_head": 6, "n_inner": 72, "n_positions": 160,
                "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000, "activation_function": "swiglu"}),
            vec![
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "intermediate_size",
                "max_position_embeddings",
                "layer_norm_eps",
                "rope_parameters",
                "hidden_act",
                "head_dim",
            ],
        ),
    ];
    for (golden, added, removed) in cases {
        let mut older = golden.config.clone();
        let keys = older.as_object_mut().unwrap();
        removed.iter().for_each(|key| drop(keys.remove(*key)));
        keys.extend(added.as_object().unwrap().clone());
        assert_ne!(older, golden.config);
        let (older, newer) = (described(golden, &older), described(golden, &golden.config));
        assert_eq!(older, newer, "{}", golden.name);
    }
}

#[test]
fn windows_of_qwen_begin_where_the_config_says() {
    let golden = golden("qwen2");
    let mut config = golden.config.clone();
    let keys = config.as_object_mut().unwrap();
    keys.remove("layer_types");
    keys.extend(
        json!({"use_sliding_window": true, "sliding_window": 4, "max_window_layers": 1})
            .as_object()
            .unwrap()
            .clone(),
    );
    let layers = described(&golden, &config).unwrap().design.layers;
    assert_eq!(layers.iter().map(|layer| layer.window).collect::<Vec<_>>(), [None, Some(4)]);
}

#[test]
fn what_a_config_may_not_say() {
    let cases = [
        ("qwen2", json!({"hidden_size": -1}), "`hidden_size` is -1; it must be an integer from 0"),
        (
            "qwen2",
            json!({"num_hidden_layers": 1u64 << 31}),
            "`block_count` is 2147483648; allowed: 1 to 4096",
        ),
        ("qwen2", json!({"layer_types": ["full_attention"], "sliding_window": 4}), "names 1 of 2 layers"),
        ("gemma2", json!({"layer_types": ["mamba", "x", "y"]}), "`layer_types` is \"mamba\""),
        ("qwen2", json!({"hidden_act": "relu"}), "this activation is not supported (found relu)"),
        (
            "qwen2",
            json!({"rope_parameters": {"rope_type": "dynamic"}}),
            "rope scaling is not supported (found dynamic)",
        ),
        (
            "qwen2",
            json!({"rope_parameters": {"rope_type": "yarn", "factor": 0.0, "rope_theta": 10.0}}),
            "`rope.scaling` is Yarn",
        ),
        (
            "qwen2",
            json!({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1.0}}),
            "`rope.scaling` is Yarn",
        ),
        (
            "phi3",
            json!({"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0]}}),
            "`rope_parameters.long_factor` is missing",
        ),
        (
            "phi3",
            json!({"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}),
            "`rope.scaling` is",
        ),
        ("phi3", json!({"rope_parameters": {"partial_rotary_factor": 7.0}}), "it must be from 0 to 1"),
        ("mixtral", json!({"num_experts_per_tok": 6}), "`expert_used_count` is 6; allowed: 1 to 5"),
        ("mixtral", json!({"num_local_experts": 100_000}), "`expert_count` is 100000; allowed: 1 to 4096"),
        ("mixtral", json!({"num_local_experts": 6}), "block_sparse_moe.gate.weight` has shape [5, 48]"),
        ("granite", json!({"logits_scaling": 0.0}), "`logit_scale` is inf; allowed: over 0"),
        ("gemma2", json!({"final_logit_softcapping": -1.0}), "`final_logit_softcapping` is -1"),
        ("qwen2", json!({"tie_word_embeddings": false}), "`lm_head.weight` is missing"),
        ("bert", json!({"max_position_embeddings": 161}), "the metadata says [161, 48]"),
        ("llama2", json!({"model_type": "qwen2"}), "`model.layers.0.self_attn.q_proj.bias` is missing"),
        ("qwen3", json!({"model_type": "llama"}), "k_norm.weight` has no place in architecture `llama`"),
        ("llama2", json!({"model_type": "qwen3"}), "`model.layers.0.self_attn.q_norm.weight` is missing"),
    ];
    for (name, changes, expected) in cases {
        let golden = golden(name);
        let mut config = golden.config.clone();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let message = described(&golden, &config).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn fused_matrices_are_rows_of_one_tensor() {
    let golden = golden("phi3");
    let header = header(&golden.gguf(DType::BF16));
    let m = Model::from_gguf(&header).unwrap();
    let layer = &m.weights.layers[1];
    let fused = header.tensor("blk.1.attn_qkv.weight").unwrap();
    let [query, key, value] =
        [&layer.attention.query, &layer.attention.key, &layer.attention.value].map(|l| &l.weight);
    assert_eq!((query.offset, query.shape.as_slice()), (fused.offset, [64, 64].as_slice()));
    assert_eq!((key.offset, key.bytes), (query.offset + query.bytes, 32 * 64 * 2));
    assert_eq!(value.offset + value.bytes, fused.offset + fused.bytes);
    let FfnWeights::Gated { gate, up, .. } = &layer.ffn else { panic!("no gate") };
    assert_eq!(gate.weight.offset + gate.weight.bytes, up.weight.offset);
    assert_eq!(m.parameters, header.tensors.iter().map(crate::Tensor::elements).sum::<u64>());
}

/// A number that a file may hold anywhere.
fn hostile() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop_oneof![Just(0), Just(1), Just(u32::MAX), Just(u32::MAX / 2), any::<u32>()].prop_map(Value::U32),
        any::<f32>().prop_map(Value::F32),
        Just(Value::F32(0.0)),
        Just(Value::Bool(true)),
        Just(Value::String("x".into())),
    ]
}

proptest! {
    /// Whatever a key says: a model or an error.
    #[test]
    fn no_metadata_panics(family in 0usize..64, changes in prop::collection::vec((0usize..64, hostile()), 1..4)) {
        let goldens = family_goldens();
        let golden = &goldens[family % goldens.len()];
        let keys = header(&golden.gguf(DType::F16)).metadata;
        let keys: Vec<String> = keys.iter().map(|(key, _)| key.to_owned()).collect();
        let change = |b: GgufBuilder, (at, value): &(usize, Value)| b.replace(&keys[at % keys.len()], value.clone());
        let builder = changes.iter().fold(golden.gguf(DType::F16), change);
        let bytes = builder.build();
        if let Ok(Progress::Done(header)) = gguf::parse(&bytes, Some(bytes.len() as u64)) {
            let _ = Model::from_gguf(&header);
        }
    }

    /// Whatever a config says: a model or an error.
    #[test]
    fn no_config_panics(family in 0usize..64, changes in prop::collection::vec((0usize..64, -2.0f64..5e9), 1..4)) {
        let goldens = family_goldens();
        let golden = &goldens[family % goldens.len()];
        let mut config = golden.config.clone();
        let object = config.as_object_mut().unwrap();
        let keys: Vec<String> = object.keys().cloned().collect();
        for (at, number) in changes {
            let value = if number > 1e9 { json!(number as u64) } else { json!(number) };
            object.insert(keys[at % keys.len()].clone(), value);
        }
        let _ = described(golden, &config);
    }
}
