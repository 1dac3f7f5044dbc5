mod families;

use crate::testing::{GgufBuilder, TINY_CHAT_TEMPLATE, TinyLlama};
use crate::{ArchError, Array, DType, Header, Model, Progress, RopeScaling, Value, gguf, safetensors};

use super::Factors;

fn tiny() -> GgufBuilder {
    TinyLlama::new(1).builder()
}

fn header(builder: &GgufBuilder) -> Header {
    let bytes = builder.build();
    match gguf::parse(&bytes, Some(bytes.len() as u64)) {
        Ok(Progress::Done(header)) => *header,
        other => panic!("{other:?}"),
    }
}

fn model(builder: &GgufBuilder) -> Result<Model, ArchError> {
    Model::from_gguf(&header(builder))
}

#[test]
fn a_tiny_llama_is_understood() {
    let m = model(&tiny()).unwrap();
    assert_eq!((m.dims.layers, m.dims.heads, m.dims.kv_heads, m.dims.head_dim_k), (2, 4, 2, 8));
    assert_eq!((m.dims.embedding, m.dims.ffn, m.dims.context_length), (32, 64, 256));
    assert_eq!(m.name.as_deref(), Some("Tiny llama 1"));
    assert_eq!(m.quantization, "F32");
    assert_eq!(m.chat_template.as_deref(), Some(TINY_CHAT_TEMPLATE));
    assert!(m.weights.output.is_none());
    assert_eq!(m.end_tokens(), [0, 2]);
    let t = m.tokenizer.as_ref().unwrap();
    assert_eq!((t.bos, t.eos, t.add_bos, t.add_space_prefix), (Some(1), Some(2), false, false));
    assert_eq!(m.dims.vocab as usize, t.tokens.len());
    assert_eq!(m.dims.weights_f32_bytes, m.parameters * 4);
    // Packed, a matrix has a multiple of 16 rows: only the vocabulary is none.
    let padding = u64::from(m.dims.vocab.next_multiple_of(16) - m.dims.vocab) * 32;
    assert_eq!(m.dims.weights_packed_bytes, (m.parameters + padding) * 4);
    let untied = model(&TinyLlama { tied: false, ..TinyLlama::new(1) }.builder()).unwrap();
    assert_eq!(untied.parameters, m.parameters + 32 * u64::from(m.dims.vocab));
}

#[test]
fn what_cannot_be_served_says_why() {
    let s = |s: &str| Value::String(s.into());
    let cases: Vec<(GgufBuilder, &str)> = vec![
        (
            tiny().replace("general.architecture", s("mamba")),
            "architecture `mamba` is not supported; supported: llama",
        ),
        (tiny().without("general.architecture"), "`general.architecture` is missing"),
        (tiny().without("llama.block_count"), "`llama.block_count` is missing"),
        (tiny().replace("llama.block_count", s("2")), "is the string \"2\"; it must be an integer"),
        (tiny().replace("llama.block_count", Value::U32(3)), "tensor `blk.2.attn_norm.weight` is missing"),
        (tiny().replace("llama.block_count", Value::U32(1)), "tensor `blk.1.attn_k.weight` has no place"),
        (tiny().replace("llama.block_count", Value::U32(0)), "`block_count` is 0; allowed: 1 to"),
        (tiny().replace("llama.attention.head_count_kv", Value::U32(3)), "a divisor of attention.head_count"),
        (tiny().replace("llama.attention.head_count", Value::U32(0)), "`attention.head_count` is 0"),
        (tiny().replace("llama.rope.dimension_count", Value::U32(7)), "an even number"),
        (tiny().replace("llama.feed_forward_length", Value::U32(63)), "the metadata says [63, 32]"),
        (tiny().replace("llama.context_length", Value::U32(0)), "`context_length` is 0"),
        (tiny().meta("llama.expert_count", Value::U32(8)), "`llama.expert_used_count` is missing"),
        (tiny().meta("llama.attention.scale", Value::F32(-1.0)), "`attention.scale` is -1; allowed: over 0"),
        (tiny().meta("llama.attention.sliding_window", Value::F32(8.0)), "it must be an integer"),
        (
            tiny().meta("llama.pooling_type", Value::U32(1)),
            "another vector than the last one of a model that reads forward is not supported (found Mean)",
        ),
        (tiny().meta("split.count", Value::U16(4)), "split over files"),
        (
            tiny().meta("llama.rope.scaling.type", s("dynamic")),
            "rope scaling is not supported (found dynamic)",
        ),
        (
            tiny()
                .meta("llama.rope.scaling.type", s("yarn"))
                .meta("llama.rope.scaling.yarn_beta_slow", Value::F32(32.0)),
            "`rope.scaling` is Yarn",
        ),
        (
            tiny()
                .meta("llama.rope.scaling.type", s("yarn"))
                .meta("llama.rope.scaling.yarn_ext_factor", Value::F32(0.5)),
            "an extrapolation factor of 1",
        ),
        (
            tiny().without_tensor("output_norm.weight"),
            "tensor `output_norm.weight` is missing; its shape must be [32]",
        ),
        (tiny().f32_tensor("blk.0.attn_q.bias", &[31], &[0.0; 31]), "the metadata says [32]"),
        (tiny().f32_tensor("blk.0.attn_q.scale", &[32], &[0.0; 32]), "`blk.0.attn_q.scale` has no place"),
        (tiny().replace("tokenizer.ggml.model", s("t5")), "supported are `gpt2`, `llama` and `bert`"),
        (
            tiny().replace("tokenizer.ggml.eos_token_id", Value::U32(9999)),
            "`tokenizer.ggml.eos_token_id` is 9999, but",
        ),
        (
            tiny().replace("tokenizer.ggml.merges", Value::Array(Array::String(vec!["ab".into()]))),
            "merge 0 is \"ab\"",
        ),
        (
            tiny().replace("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1]))),
            "has 1 elements for",
        ),
        (
            tiny().without_tensor("output_norm.weight").tensor(
                "output_norm.weight",
                DType::MXFP4,
                &[32],
                vec![0; 17],
            ),
            "has type MXFP4, which the engine does not read; it reads F32, F16, Q4_0, Q4_1, Q5_0",
        ),
    ];
    for (builder, expected) in cases {
        let message = model(&builder).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn narrow_rows_of_a_larger_mix_are_read() {
    // What a mix of `Q4_K` and others has where rows are no whole blocks of 256.
    for (dtype, bytes) in [(DType::Q5_0, 22), (DType::Q5_1, 24), (DType::IQ4_NL, 18), (DType::Q8_0, 34)] {
        let narrow = tiny().without_tensor("blk.0.attn_v.weight");
        let narrow = narrow.tensor("blk.0.attn_v.weight", dtype, &[16, 32], vec![0; 16 * bytes]);
        let m = model(&narrow).unwrap();
        assert_eq!(m.weights.layers[0].attention.value.weight.dtype, dtype);
        // A tile of 16 outputs takes what it takes in the file, and its scales' line.
        let packed = crate::packing::packed_bytes(dtype, 16, 32).unwrap();
        assert!(packed >= 16 * bytes as u64);
        let rest = model(&tiny()).unwrap().dims.weights_packed_bytes - 512 * 4;
        assert_eq!(m.dims.weights_packed_bytes, rest + packed);
    }
}

#[test]
fn a_scale_of_attention_of_0_means_the_usual_one() {
    for (written, expected) in [(0.0, 1.0 / 8f32.sqrt()), (0.5, 0.5)] {
        let m = model(&tiny().meta("llama.attention.scale", Value::F32(written))).unwrap();
        assert_eq!(m.design.attention_scale, expected);
    }
}

#[test]
fn a_window_is_the_files_to_name() {
    let window = |b: GgufBuilder| model(&b.meta("llama.attention.sliding_window", Value::U32(8))).unwrap();
    let m = window(tiny());
    assert_eq!((m.dims.windowed_layers, m.dims.window), (2, 8));
    let pattern = Value::Array(Array::Bool(vec![false, true]));
    let m = window(tiny().meta("llama.attention.sliding_window_pattern", pattern));
    assert_eq!((m.dims.windowed_layers, m.design.layers[0].window), (1, None));
    assert_eq!(model(&tiny()).unwrap().dims.window, 0);
}

#[test]
fn rope_scaling_of_both_kinds() {
    let m = model(&tiny().meta("llama.rope.scaling.factor", Value::F32(4.0))).unwrap();
    assert_eq!(m.design.ropes[0].scaling, RopeScaling::Linear { factor: 4.0 });
    assert!((m.design.ropes[0].frequencies(&[])[0] - 0.25).abs() < 1e-12);
    let m = model(&tiny().f32_tensor("rope_freqs.weight", &[4], &[1.0, 1.0, 2.0, 8.0])).unwrap();
    assert!(matches!(&m.design.ropes[0].scaling, RopeScaling::Factors(Factors::Tensor(t)) if t.shape == [4]));
    let f = m.design.ropes[0].frequencies(&[1.0, 1.0, 2.0, 8.0]);
    assert!((f[3] - 10_000f64.powf(-0.75) / 8.0).abs() < 1e-12);
}

#[test]
fn heads_may_be_given_once_a_layer() {
    let heads = |v: Vec<i32>| tiny().replace("llama.attention.head_count_kv", Value::Array(Array::I32(v)));
    assert_eq!(model(&heads(vec![2, 2])).unwrap().dims.kv_heads, 2);
    assert!(model(&heads(vec![2, 1])).unwrap_err().to_string().contains("layers of different sizes"));
}

const CONFIG: &str = r#"{"model_type":"llama","num_hidden_layers":1,"num_attention_heads":2,
    "num_key_value_heads":1,"hidden_size":8,"intermediate_size":16,"vocab_size":32,
    "max_position_embeddings":131072,"rms_norm_eps":1e-5,"rope_theta":500000.0,
    "rope_scaling":{"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
    "original_max_position_embeddings":8192},"tie_word_embeddings":true}"#;

fn safetensors_file() -> Vec<u8> {
    let layer = "model.layers.0.";
    let tensors: Vec<(String, Vec<u64>)> = vec![
        ("model.embed_tokens.weight".into(), vec![32, 8]),
        ("model.norm.weight".into(), vec![8]),
        (format!("{layer}input_layernorm.weight"), vec![8]),
        (format!("{layer}self_attn.q_proj.weight"), vec![8, 8]),
        (format!("{layer}self_attn.k_proj.weight"), vec![4, 8]),
        (format!("{layer}self_attn.v_proj.weight"), vec![4, 8]),
        (format!("{layer}self_attn.o_proj.weight"), vec![8, 8]),
        (format!("{layer}post_attention_layernorm.weight"), vec![8]),
        (format!("{layer}mlp.gate_proj.weight"), vec![16, 8]),
        (format!("{layer}mlp.up_proj.weight"), vec![16, 8]),
        (format!("{layer}mlp.down_proj.weight"), vec![8, 16]),
    ];
    let mut at = 0u64;
    let mut object = serde_json::Map::new();
    for (name, shape) in tensors {
        let end = at + shape.iter().product::<u64>() * 2;
        object.insert(name, serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let json = serde_json::to_vec(&object).unwrap();
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend(json);
    out.resize(out.len() + at as usize, 0);
    out
}

#[test]
fn a_safetensors_llama_is_understood() {
    let bytes = safetensors_file();
    let Ok(Progress::Done(header)) = safetensors::parse(&bytes, Some(bytes.len() as u64)) else {
        panic!("no header")
    };
    let m = Model::from_safetensors(&header, CONFIG.as_bytes(), None).unwrap();
    assert_eq!((m.quantization.as_str(), m.dims.context_length), ("BF16", 131_072));
    assert!(m.weights.output.is_none() && m.tokenizer.is_none());
    // The fastest pair stays as it is; the other turns between once and four times
    // in the original context, so it is blended.
    let f = m.design.ropes[0].frequencies(&[]);
    assert!((f[0] - 1.0).abs() < 1e-12);
    let plain = 500_000f64.powf(-0.5);
    let keep = (8192.0 * plain / std::f64::consts::TAU - 1.0) / 3.0;
    assert!((f[1] - plain * ((1.0 - keep) / 32.0 + keep)).abs() < 1e-12);

    let untied = CONFIG.replace("true", "false");
    let message = Model::from_safetensors(&header, untied.as_bytes(), None).unwrap_err().to_string();
    assert!(message.contains("`lm_head.weight` is missing"), "{message}");
    for (config, expected) in [
        ("{", "config.json: EOF"),
        ("{}", "`model_type` is missing"),
        (r#"{"model_type":"mamba"}"#, "architecture `mamba` is not supported; supported: llama, mistral"),
        (r#"{"model_type":"llama"}"#, "`num_hidden_layers` is missing"),
    ] {
        let message = Model::from_safetensors(&header, config.as_bytes(), None).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
