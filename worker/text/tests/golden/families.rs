//! Each family's ids, out of `tokenizer.json` and out of what a converter makes of it.

use hearth_model::arch::TokenizerSpec;
use hearth_text::tokenizer::Tokenizer;
use serde::Deserialize;

use crate::convert;
use crate::files::{self, Family};
use crate::lines::{self, Hash, LINES};

#[derive(Deserialize)]
struct Golden {
    lines: String,
    /// With control tokens that are written out.
    ids: Option<String>,
    /// Without.
    as_text: String,
    /// What the first kind of ids reads, or the second where there is no first.
    decoded: String,
    samples: Vec<Sample>,
    /// What another implementation of the family's own says.
    agrees: Option<Agrees>,
}

#[derive(Deserialize)]
struct Sample {
    line: usize,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Agrees {
    lines: usize,
}

/// Of a kind of golden: what is wrong, if anything.
fn compare(
    what: &str,
    golden: &str,
    lines: &[String],
    allowed: usize,
    mut hash: impl FnMut(Hash, &str) -> Hash,
) -> Result<(), String> {
    let golden = golden.split(' ').collect::<Vec<_>>();
    let size = lines.len().div_ceil(golden.len());
    let blocks = lines.chunks(size);
    assert_eq!(blocks.len(), golden.len());
    let mut wrong = Vec::new();
    for (block, golden) in blocks.zip(golden) {
        let Hash(value) = block.iter().fold(Hash::default(), |so_far, line| hash(so_far, line));
        let folded = (value ^ (value >> 32)) & 0xffff_ffff;
        if format!("{folded:08x}") != golden {
            wrong.push(block);
        }
    }
    match wrong.first() {
        Some(first) if wrong.len() > allowed => {
            Err(format!("{what}: {} blocks of {size} lines differ, the first is {first:?}", wrong.len()))
        }
        _ => Ok(()),
    }
}

/// `cut` blocks of lines may differ in ids: what a line writes U+2581 beside spaces as.
fn check(family: &str, route: &str, tokenizer: &Tokenizer, wrapped: bool, cut: usize) -> Result<(), String> {
    let golden: Golden = files::golden(&format!("tokenizers/{family}.json"));
    let lines = lines::lines();
    let Hash(all) = lines.iter().fold(Hash::default(), |hash, line| hash.bytes(line.as_bytes()));
    assert_eq!(format!("{all:016x}"), golden.lines, "the lines are not those that the goldens were made of");
    assert!(golden.agrees.is_none_or(|agrees| agrees.lines == LINES));
    let read = |line: &str| tokenizer.encode(line, false).unwrap();
    let text = |line: &str| tokenizer.encode_text(line).unwrap();
    let mut results =
        vec![compare("as text", &golden.as_text, &lines, cut, |hash, line| hash.ids(&text(line)))];
    if let Some(ids) = &golden.ids {
        results.push(compare("ids", ids, &lines, cut, |hash, line| hash.ids(&read(line))));
    }
    let decoded = |line: &str| tokenizer.decode(&if golden.ids.is_some() { read(line) } else { text(line) });
    results.push(compare("decoded", &golden.decoded, &lines, 0, |hash, line| {
        hash.bytes(decoded(line).as_bytes()).bytes(&[0xff])
    }));
    for Sample { line, ids } in &golden.samples {
        let line = &lines[*line];
        let found = match (wrapped, golden.ids.is_some()) {
            (false, _) => break,
            (true, true) => tokenizer.encode(line, true).unwrap(),
            (true, false) => [tokenizer.encode("", true).unwrap(), text(line)].concat(),
        };
        // A start token that the text begins with is not put there twice.
        let twice = ids.len() > 1 && ids[0] == ids[1];
        if found != ids[usize::from(twice)..] {
            results.push(Err(format!("{line:?} is {found:?}, golden {ids:?}")));
        }
    }
    let wrong = results.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{family}, {route}: {}", wrong.join("; "))) }
}

/// Both routes, and what is wrong on either.
fn both(family: &str, convert: impl Fn(&[u8]) -> TokenizerSpec) {
    both_but(family, 0, convert);
}

/// Both routes, where that through GGUF may cut up some blocks in another way: a file
/// does not say that a literal U+2581 and a space are told apart.
fn both_but(family: &str, cut: usize, convert: impl Fn(&[u8]) -> TokenizerSpec) {
    let files = Family::named(family);
    let json = check(family, "tokenizer.json", &files.tokenizer(), true, 0);
    let spec = convert(&files.read("tokenizer.json").unwrap());
    let gguf = check(family, "GGUF", &Tokenizer::new(&spec).unwrap(), false, cut);
    let wrong = [json, gguf].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn byte_level(family: &str, pre: &str) {
    both(family, |json| convert::byte_level(json, pre));
}

fn model_file(family: &str) {
    let bytes = Family::named(family).read("tokenizer.model").unwrap();
    let tokenizer = Tokenizer::new(&convert::sentencepiece_model(&bytes)).unwrap();
    check(family, "GGUF", &tokenizer, true, 0).unwrap();
}

#[test]
fn gpt2() {
    byte_level("gpt2", "gpt-2");
}

#[test]
fn llama3() {
    byte_level("llama3", "llama-bpe");
}

#[test]
fn qwen2_5() {
    byte_level("qwen2.5", "qwen2");
}

#[test]
fn qwen3() {
    byte_level("qwen3", "qwen2");
}

#[test]
fn mistral_nemo() {
    byte_level("mistral-nemo", "tekken");
}

#[test]
fn gpt_oss() {
    byte_level("gpt-oss", "gpt-4o");
}

#[test]
fn deepseek_v3() {
    byte_level("deepseek-v3", "deepseek-v3");
}

#[test]
fn olmo() {
    byte_level("olmo", "olmo");
}

#[test]
fn olmo2() {
    byte_level("olmo2", "dbrx");
}

#[test]
fn mistral_v1_json() {
    both("mistral-v1-hf", |json| convert::sentencepiece_json(json, true));
}

#[test]
fn gemma2() {
    both_but("gemma2", 5, |json| convert::sentencepiece_json(json, false));
}

#[test]
fn gemma3() {
    both_but("gemma3", 5, |json| convert::sentencepiece_json(json, false));
}

#[test]
fn mistral_v1() {
    model_file("mistral-v1");
}

#[test]
fn mistral_v2() {
    model_file("mistral-v2");
}

#[test]
fn mistral_v3() {
    model_file("mistral-v3");
}

#[test]
fn minilm() {
    both("minilm", convert::word_piece);
}
