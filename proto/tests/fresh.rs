//! The committed code is what the `.proto` files generate.
//! `HEARTH_UPDATE=1 cargo test -p hearth-proto` writes it anew.

use std::{env, fs, path::Path};

const FILES: [&str; 4] = [
    "hearth/control/v1/control.proto",
    "hearth/engine/v1/engine.proto",
    "hearth/inference/v1/inference.proto",
    "hearth/worker/v1/worker.proto",
];

#[test]
fn generated_code_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/gen");
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let update = env::var_os("HEARTH_UPDATE").is_some();
    let out = if update { committed.as_path() } else { scratch.path() };

    let descriptors = protox::compile(FILES, [root]).expect("the .proto files compile");
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors)).expect("written");
    tonic_prost_build::configure().out_dir(out).compile_fds(descriptors).expect("code is generated");

    for entry in fs::read_dir(out).expect("the generated folder") {
        let path = entry.expect("an entry").path();
        let old = committed.join(path.file_name().expect("a file name"));
        assert!(
            fs::read(&path).expect("generated") == fs::read(&old).unwrap_or_default(),
            "{} is stale: run HEARTH_UPDATE=1 cargo test -p hearth-proto",
            old.display()
        );
    }
}
