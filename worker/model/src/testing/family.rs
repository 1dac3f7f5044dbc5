//! The tiny checkpoints of `tests/golden/families`: one a family, with random weights
//! that come from their tensors' names, and what the family's own implementation
//! computes with them.

use std::path::Path;

use half::{bf16, f16};
use serde::Deserialize;

use super::GgufBuilder;
use crate::{DType, Value};

/// A tiny checkpoint and its answers.
#[derive(Clone, Debug, Deserialize)]
pub struct FamilyGolden {
    /// The file's name: a family, or a variant of one.
    #[serde(skip)]
    pub name: String,
    /// Its `config.json`.
    pub config: serde_json::Value,
    /// How a text's vectors become one: `mean`, `first` or `last`; `None` for logits.
    pub pooling: Option<String>,
    tensors: Vec<(String, Vec<u64>, Recipe)>,
    gguf_metadata: Vec<(String, String, serde_json::Value)>,
    gguf_tensors: Vec<GgufTensor>,
    /// Two prompts, of which the second is longer than any window.
    pub prompts: Vec<FamilyPrompt>,
}

/// A prompt and what follows from it.
#[derive(Clone, Debug, Deserialize)]
pub struct FamilyPrompt {
    /// Tokens that a sequence may hold in the replica that is asked.
    pub context: u32,
    /// The prompt.
    pub tokens: Vec<u32>,
    /// The answers to its last tokens, in order; an embedding is the only one.
    pub answers: Vec<Vec<f32>>,
}

/// Offset, shift and step: see `weights.py`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Recipe(f32, u32, f32);

#[derive(Clone, Debug, Deserialize)]
struct GgufTensor {
    name: String,
    shape: Vec<u64>,
    /// Tensors of the checkpoint, one after another.
    #[serde(default)]
    from: Vec<String>,
    /// Or the numbers themselves.
    #[serde(default)]
    numbers: Vec<f32>,
    /// Heads whose halves become adjacent pairs.
    permute: Option<usize>,
    /// Added to every element.
    #[serde(default)]
    plus: f32,
}

/// All of them.
///
/// # Panics
/// They are not there, or not as the script makes them.
#[must_use]
pub fn family_goldens() -> Vec<FamilyGolden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/families");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder that can be read").path());
    let mut goldens: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "json")).map(read).collect();
    goldens.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!goldens.is_empty(), "no goldens in {}", folder.display());
    goldens
}

fn read(path: std::path::PathBuf) -> FamilyGolden {
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let golden: FamilyGolden =
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    FamilyGolden { name, ..golden }
}

impl FamilyGolden {
    /// The checkpoint as a safetensors file, its numbers as `dtype`: exact in each of
    /// `F32`, `F16` and `BF16`.
    ///
    /// # Panics
    /// `dtype` is another.
    #[must_use]
    pub fn safetensors(&self, dtype: DType) -> Vec<u8> {
        self.part(dtype, 0, 1)
    }

    /// As [`FamilyGolden::safetensors`], cut into `count` files, in which neighbouring
    /// tensors are apart: their names and bytes, and those of their index at last.
    ///
    /// # Panics
    /// As [`FamilyGolden::safetensors`].
    #[must_use]
    pub fn shards(&self, dtype: DType, count: usize) -> Vec<(String, Vec<u8>)> {
        let name = |nth: usize| format!("model-{:05}-of-{count:05}.safetensors", nth + 1);
        let mut files = (0..count).map(|nth| (name(nth), self.part(dtype, nth, count))).collect::<Vec<_>>();
        let map = self.tensors.iter().enumerate();
        let map = map.map(|(at, (tensor, _, _))| (tensor.clone(), name(at % count).into()));
        let map = map.collect::<serde_json::Map<String, serde_json::Value>>();
        let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map});
        files.push(("model.safetensors.index.json".to_owned(), index.to_string().into_bytes()));
        files
    }

    /// Every `of`-th tensor from tensor `nth` on, as a safetensors file.
    fn part(&self, dtype: DType, nth: usize, of: usize) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        let mut data = Vec::new();
        for (name, shape, recipe) in self.tensors.iter().skip(nth).step_by(of) {
            let start = data.len();
            data.extend(bytes(dtype, &numbers(name, elements(shape), *recipe)));
            let entry = serde_json::json!({
                "dtype": dtype.name(), "shape": shape, "data_offsets": [start, data.len()],
            });
            header.insert(name.clone(), entry);
        }
        let json = serde_json::Value::Object(header).to_string();
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend(json.as_bytes());
        file.extend(data);
        file
    }

    /// The checkpoint as a GGUF file, its matrices as `dtype`. What is behind
    /// `tokenizer` is left to a test.
    ///
    /// # Panics
    /// `dtype` is not `F32`, `F16` or `BF16`.
    #[must_use]
    pub fn gguf(&self, dtype: DType) -> GgufBuilder {
        let mut file = GgufBuilder::new();
        for (key, kind, value) in &self.gguf_metadata {
            file = file.meta(key, metadata(kind, value));
        }
        for tensor in &self.gguf_tensors {
            let GgufTensor { name, shape, from, numbers, permute, plus } = tensor;
            let mut made = numbers.clone();
            for source in from {
                made.extend(self.source(source).into_iter().map(|x| x + plus));
            }
            if let Some(heads) = permute {
                made = adjacent_pairs(&made, *heads, shape);
            }
            let dtype = if shape.len() == 1 { DType::F32 } else { dtype };
            file = file.tensor(name, dtype, shape, bytes(dtype, &made));
        }
        file
    }

    fn source(&self, name: &str) -> Vec<f32> {
        let found = self.tensors.iter().find(|(found, _, _)| found == name);
        let (name, shape, recipe) = found.unwrap_or_else(|| panic!("{name} is not in the checkpoint"));
        numbers(name, elements(shape), *recipe)
    }
}

fn elements(shape: &[u64]) -> usize {
    shape.iter().product::<u64>() as usize
}

/// The numbers of a tensor: see `weights.py`.
fn numbers(name: &str, count: usize, Recipe(offset, shift, step): Recipe) -> Vec<f32> {
    let fnv = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let start = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let code = |i: u64| {
        let mut z = start.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(i));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 56) as u8 as i8
    };
    (1..=count as u64).map(|i| offset + f32::from(code(i) >> shift) * step).collect()
}

fn bytes(dtype: DType, numbers: &[f32]) -> Vec<u8> {
    match dtype {
        DType::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::F16 => numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        DType::BF16 => numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        other => panic!("checkpoints have no {other}"),
    }
}

/// Rows of each head such that row `i` of the first half and of the second are next to
/// each other.
fn adjacent_pairs(numbers: &[f32], heads: usize, shape: &[u64]) -> Vec<f32> {
    let rows = shape.first().map_or(1, |rows| *rows as usize);
    let (columns, half) = (numbers.len() / rows, rows / heads / 2);
    let source = |row: usize| {
        let (head, within) = (row / (2 * half), row % (2 * half));
        head * 2 * half + (within % 2) * half + within / 2
    };
    (0..rows).flat_map(|row| &numbers[source(row) * columns..][..columns]).copied().collect()
}

fn metadata(kind: &str, value: &serde_json::Value) -> Value {
    let made = match kind {
        "u32" => value.as_u64().and_then(|n| u32::try_from(n).ok()).map(Value::U32),
        "f32" => value.as_f64().map(|x| Value::F32(x as f32)),
        "bool" => value.as_bool().map(Value::Bool),
        "string" => value.as_str().map(|s| Value::String(s.to_owned())),
        _ => None,
    };
    made.unwrap_or_else(|| panic!("{value} is no {kind}"))
}
