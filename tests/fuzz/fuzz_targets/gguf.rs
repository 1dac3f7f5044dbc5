//! Any bytes as a GGUF file: an answer, within the file, and no panic.
#![no_main]

use hearth_model::{Model, Progress, gguf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Progress::Need(more)) = gguf::parse(bytes, None) {
        assert!(more > bytes.len() as u64);
    }
    match gguf::parse(bytes, Some(bytes.len() as u64)) {
        Ok(Progress::Need(more)) => panic!("wants {more} of {} bytes", bytes.len()),
        Ok(Progress::Done(header)) => {
            assert!(header.min_file_bytes <= bytes.len() as u64);
            let _ = Model::from_gguf(&header);
        }
        Err(_) => {}
    }
});
