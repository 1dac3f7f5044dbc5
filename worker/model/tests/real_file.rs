//! The model that the project's tests share: `HEARTH_TEST_MODEL`, by default
//! `$HOME/.cache/hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf`.

use std::path::PathBuf;

use hearth_model::arch::TokenizerKind;
use hearth_model::footprint::{DeviceKind, Overheads};
use hearth_model::{DType, KvType, Model, Shape, WeightStorage, footprint, gguf};

fn path() -> PathBuf {
    let path = std::env::var_os("HEARTH_TEST_MODEL").map_or_else(
        || {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_default())
                .join(".cache/hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf")
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "{} is missing: run deploy/dev-cluster/models.sh, or set HEARTH_TEST_MODEL",
        path.display()
    );
    path
}

#[test]
fn smollm2_is_understood() {
    let header = gguf::read_file(&path()).unwrap();
    assert_eq!((header.tensors.len(), header.data_offset), (272, 1_785_664));
    let m = Model::from_gguf(&header).unwrap();
    assert_eq!((m.dims.layers, m.dims.heads, m.dims.kv_heads, m.dims.head_dim_k), (30, 9, 3, 64));
    assert_eq!((m.dims.embedding, m.dims.ffn, m.dims.vocab), (576, 1536, 49152));
    assert_eq!(m.dims.context_length, 8192);
    assert_eq!(m.quantization, "Q4_1");
    assert_eq!(m.parameters, 134_515_008);
    assert_eq!(m.weights.token_embedding.dtype, DType::Q8_0);
    assert!(m.weights.output.is_none());
    assert_eq!(m.min_file_bytes, std::fs::metadata(path()).unwrap().len());
    let t = m.tokenizer.as_ref().unwrap();
    assert_eq!((t.kind, t.pre.as_deref()), (TokenizerKind::Bpe, Some("smollm")));
    assert_eq!((t.tokens.len(), t.merges.len()), (49152, 48900));
    assert_eq!((t.bos, t.eos, t.add_bos), (Some(1), Some(2), false));
    assert_eq!(m.end_tokens(), [0, 2]);
    assert!(m.chat_template.as_deref().unwrap().contains("<|im_start|>"));

    let shape = Shape { context_tokens: 2048, sequences: 4, kv_type: KvType::F16 };
    let overheads = Overheads::DEFAULT;
    let f = footprint(&m.dims, &shape, WeightStorage::F32, overheads.of(DeviceKind::Cpu)).unwrap();
    assert_eq!((f.weights, f.kv), (538_060_032, 23_040 * 2048 * 4));
}
