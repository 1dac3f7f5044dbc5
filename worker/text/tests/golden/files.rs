//! Vocabularies that the tests' set-up fetched, and the goldens that belong to them.

use std::path::{Path, PathBuf};

use hearth_text::tokenizer::{JsonFiles, Tokenizer};
use serde::de::DeserializeOwned;

/// A family's files.
pub(crate) struct Family {
    folder: PathBuf,
}

impl Family {
    /// # Panics
    /// They are not there: a test that is skipped proves nothing.
    pub(crate) fn named(name: &str) -> Self {
        let root =
            std::env::var_os("HEARTH_TEST_TOKENIZERS").map_or_else(|| cache("tokenizers"), PathBuf::from);
        let folder = root.join(name);
        assert!(
            folder.is_dir(),
            "no vocabulary at {}: run deploy/dev-cluster/tokenizers.sh, or set HEARTH_TEST_TOKENIZERS",
            folder.display()
        );
        Self { folder }
    }

    pub(crate) fn read(&self, file: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join(file)).ok()
    }

    /// Out of `tokenizer.json`.
    pub(crate) fn tokenizer(&self) -> Tokenizer {
        let tokenizer = self.read("tokenizer.json").expect("the family has a tokenizer.json");
        let config = self.read("tokenizer_config.json");
        let files = JsonFiles { tokenizer: &tokenizer, config: config.as_deref(), end_ids: &[] };
        Tokenizer::from_json(&files).unwrap()
    }
}

/// A SmolLM2, with its vocabulary and template.
pub(crate) fn model() -> PathBuf {
    let default = || cache("models").join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("HEARTH_TEST_MODEL").map_or_else(default, PathBuf::from);
    assert!(
        path.is_file(),
        "no model at {}: run deploy/dev-cluster/models.sh, or set HEARTH_TEST_MODEL",
        path.display()
    );
    path
}

fn cache(folder: &str) -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    Path::new(&home).join(".cache/hearth").join(folder)
}

/// A committed file of goldens.
pub(crate) fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
