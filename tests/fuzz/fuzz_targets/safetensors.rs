//! Any bytes as a safetensors file: an answer, within the file, and no panic.
#![no_main]

use hearth_model::{Model, Progress, safetensors};
use libfuzzer_sys::fuzz_target;

const CONFIG: &[u8] = br#"{"model_type":"llama","num_hidden_layers":1,"num_attention_heads":2,
    "hidden_size":8,"intermediate_size":16,"vocab_size":32,"max_position_embeddings":64,
    "rms_norm_eps":1e-5,"tie_word_embeddings":true}"#;

fuzz_target!(|bytes: &[u8]| {
    match safetensors::parse(bytes, Some(bytes.len() as u64)) {
        Ok(Progress::Need(more)) => panic!("wants {more} of {} bytes", bytes.len()),
        Ok(Progress::Done(header)) => {
            assert!(header.min_file_bytes <= bytes.len() as u64);
            let _ = Model::from_safetensors(&header, CONFIG, None);
            let _ = Model::from_safetensors(&header, bytes, Some(bytes));
        }
        Err(_) => {}
    }
});
