//! The model that the suite runs on.

use hearth_model::footprint::{DeviceKind, Overheads};
use hearth_model::testing::{TinyLlama, byte_characters};
use hearth_model::{Array, KvType, Model, Shape, Value, WeightStorage, footprint, gguf};

/// Pairs that become tokens: whole words, for the simulated engine to choose
/// among.
const MERGES: [&str; 10] = ["Ġ h", "Ġh e", "Ġ t", "Ġt o", "Ġ i", "Ġi n", "Ġ e", "Ġe r", "Ġ a", "Ġa t"];

/// A tiny llama that knows some words.
pub(crate) fn file() -> Vec<u8> {
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned);
    let words = MERGES.map(|merge| merge.replace(' ', ""));
    let tokens = special.into_iter().chain(byte_characters().map(String::from)).chain(words).collect();
    let merges = MERGES.map(str::to_owned).into();
    TinyLlama::new(1)
        .builder()
        .replace("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)))
        .replace("tokenizer.ggml.merges", Value::Array(Array::String(merges)))
        .build()
}

/// What the model takes on a simulated device, with three sequences of 256 tokens.
pub(crate) fn bytes_of_one() -> u64 {
    let bytes = file();
    let gguf::Progress::Done(header) = gguf::parse(&bytes, Some(bytes.len() as u64)).unwrap() else {
        panic!("the whole file was there");
    };
    let model = Model::from_gguf(&header).unwrap();
    let shape = Shape { context_tokens: 256, sequences: 3, kv_type: KvType::F16 };
    let overheads = Overheads::DEFAULT;
    footprint(&model.dims, &shape, WeightStorage::F32, overheads.of(DeviceKind::Cpu)).unwrap().total()
}
