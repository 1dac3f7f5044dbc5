//! Any bytes as the start of a GGUF file of any size: an answer, within the file, and
//! no panic.
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
    // A server tells the size of a file that is not here, and may tell anything.
    let told = bytes.last_chunk().map_or(u64::MAX, |last| u64::from_le_bytes(*last));
    for size in [told, u64::MAX] {
        let size = size.max(bytes.len() as u64);
        match gguf::parse(bytes, Some(size)) {
            Ok(Progress::Need(more)) => assert!(more > bytes.len() as u64 && more <= size),
            Ok(Progress::Done(header)) => {
                assert!(header.min_file_bytes <= size);
                let _ = Model::from_gguf(&header);
            }
            Err(_) => {}
        }
    }
});
