//! The model's file and the goldens that belong to it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The file that the goldens were made from.
///
/// # Panics
/// It is not there: a test that is skipped proves nothing.
pub(crate) fn model() -> PathBuf {
    let path = std::env::var_os("HEARTH_TEST_MODEL").map_or_else(default_model, PathBuf::from);
    assert!(
        path.is_file(),
        "no model at {}: run deploy/dev-cluster/models.sh, or set HEARTH_TEST_MODEL",
        path.display()
    );
    path
}

fn default_model() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    Path::new(&home).join(".cache/hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf")
}

#[derive(Deserialize)]
struct Golden<T> {
    made_from: MadeFrom,
    items: Vec<T>,
}

#[derive(Deserialize)]
struct MadeFrom {
    file: String,
}

/// The items of a file of goldens.
pub(crate) fn items<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let golden: Golden<T> = serde_json::from_slice(&text).unwrap();
    let file = model();
    assert_eq!(file.file_name().and_then(|name| name.to_str()), Some(golden.made_from.file.as_str()));
    golden.items
}

/// A prompt and what follows it.
#[derive(Deserialize)]
pub(crate) struct Greedy {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) chat: Option<Vec<Message>>,
    pub(crate) prompt_ids: Vec<u32>,
    pub(crate) output_ids: Vec<u32>,
    /// The smallest distance between the likeliest token and the next, of all steps.
    pub(crate) least_gap: f32,
}

#[derive(Deserialize)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) content: String,
}
