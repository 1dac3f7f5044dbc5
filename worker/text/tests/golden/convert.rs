//! What a converter to GGUF makes of a vocabulary.

use std::collections::HashMap;

use hearth_model::arch::TokenizerSpec;
use hearth_model::testing::GgufBuilder;
use hearth_model::{Array, Progress, Value, gguf};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::proto;

const SPACE: char = '\u{2581}';

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

#[derive(Deserialize)]
struct File {
    model: Json,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    special: bool,
}

/// Tokens and their types by id; what no token has is padding.
fn vocabulary(file: &File) -> (Vec<String>, Vec<i32>) {
    let vocab = file.model["vocab"].as_object().unwrap();
    let ids = vocab.values().map(|id| usize::try_from(id.as_u64().unwrap()).unwrap());
    let last = ids.chain(file.added_tokens.iter().map(|token| token.id)).max().unwrap();
    let mut tokens = (0..=last).map(|id| format!("[PAD{id}]")).collect::<Vec<_>>();
    let mut types = vec![UNUSED; last + 1];
    for (token, id) in vocab {
        let id = usize::try_from(id.as_u64().unwrap()).unwrap();
        (tokens[id], types[id]) = (token.clone(), NORMAL);
    }
    for Added { id, content, special } in &file.added_tokens {
        // Converters write real spaces into what is matched as it is.
        let text = if *special { content.clone() } else { content.replace(SPACE, " ") };
        (tokens[*id], types[*id]) = (text, if *special { CONTROL } else { USER_DEFINED });
    }
    (tokens, types)
}

fn builder(model: &str, tokens: Vec<String>, types: Vec<i32>) -> GgufBuilder {
    GgufBuilder::new()
        .meta("general.architecture", Value::String("llama".into()))
        .meta("tokenizer.ggml.model", Value::String(model.into()))
        .meta("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)))
        .meta("tokenizer.ggml.token_type", Value::Array(Array::I32(types)))
}

fn spec(builder: &GgufBuilder) -> TokenizerSpec {
    let bytes = builder.build();
    match gguf::parse(&bytes, Some(bytes.len() as u64)).unwrap() {
        Progress::Done(header) => TokenizerSpec::from_gguf(&header.metadata).unwrap().unwrap(),
        _ => panic!("the whole file is there"),
    }
}

/// Of a byte-level vocabulary, with the name of its split.
pub(crate) fn byte_level(json: &[u8], pre: &str) -> TokenizerSpec {
    let file: File = serde_json::from_slice(json).unwrap();
    let (tokens, types) = vocabulary(&file);
    let merge = |merge: &Json| match merge {
        Json::String(line) => line.clone(),
        Json::Array(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        other => panic!("{other}"),
    };
    let merges = file.model["merges"].as_array().unwrap().iter().map(merge).collect();
    spec(
        &builder("gpt2", tokens, types)
            .meta("tokenizer.ggml.pre", Value::String(pre.into()))
            .meta("tokenizer.ggml.merges", Value::Array(Array::String(merges)))
            .meta("tokenizer.ggml.add_bos_token", Value::Bool(false)),
    )
}

/// Of a SentencePiece vocabulary that a `tokenizer.json` holds. It keeps no scores, but
/// merges in the order of them.
pub(crate) fn sentencepiece_json(json: &[u8], add_space_prefix: bool) -> TokenizerSpec {
    let file: File = serde_json::from_slice(json).unwrap();
    let (tokens, mut types) = vocabulary(&file);
    let unknown = file.model["unk_token"].as_str().unwrap();
    for (token, kind) in tokens.iter().zip(&mut types) {
        let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        *kind = if token == unknown {
            UNKNOWN
        } else if is_byte {
            BYTE
        } else {
            *kind
        };
    }
    let merges = file.model["merges"].as_array().unwrap();
    let mut scores = vec![-(merges.len() as f32); tokens.len()];
    let ids = tokens.iter().zip(0..).collect::<HashMap<_, usize>>();
    for (rank, merge) in merges.iter().enumerate().rev() {
        let merged = match merge {
            Json::String(line) => line.replacen(' ', "", 1),
            pair => [pair[0].as_str().unwrap(), pair[1].as_str().unwrap()].concat(),
        };
        // Of the pairs that make a token, the first is as good as its score.
        if let Some(id) = ids.get(&merged) {
            scores[*id] = -(rank as f32);
        }
    }
    sentencepiece(tokens, types, scores, add_space_prefix)
}

/// Of a `tokenizer.model`.
pub(crate) fn sentencepiece_model(bytes: &[u8]) -> TokenizerSpec {
    let model = proto::read(bytes);
    let tokens = model.pieces.iter().map(|piece| piece.text.clone()).collect();
    let types = model.pieces.iter().map(|piece| i32::try_from(piece.kind).unwrap()).collect();
    let scores = model.pieces.iter().map(|piece| piece.score).collect();
    sentencepiece(tokens, types, scores, model.add_dummy_prefix)
}

fn sentencepiece(tokens: Vec<String>, types: Vec<i32>, scores: Vec<f32>, prefix: bool) -> TokenizerSpec {
    let id = |text: &[&str]| tokens.iter().position(|token| text.contains(&token.as_str())).unwrap() as u32;
    let (bos, unknown) = (id(&["<s>", "<bos>"]), id(&["<unk>"]));
    spec(
        &builder("llama", tokens, types)
            .meta("tokenizer.ggml.scores", Value::Array(Array::F32(scores)))
            .meta("tokenizer.ggml.bos_token_id", Value::U32(bos))
            .meta("tokenizer.ggml.unknown_token_id", Value::U32(unknown))
            .meta("tokenizer.ggml.add_space_prefix", Value::Bool(prefix)),
    )
}

/// Of a WordPiece vocabulary: the sign of a space before what begins a word, and none
/// before what continues one.
pub(crate) fn word_piece(json: &[u8]) -> TokenizerSpec {
    let file: File = serde_json::from_slice(json).unwrap();
    let (tokens, types) = vocabulary(&file);
    let id = |text: &str| tokens.iter().position(|token| token == text).unwrap() as u32;
    let (cls, sep, unknown) = (id("[CLS]"), id("[SEP]"), id("[UNK]"));
    let written = tokens.iter().map(|token| match token.strip_prefix("##") {
        _ if token.starts_with('[') && token.ends_with(']') => token.clone(),
        Some(end) => end.to_owned(),
        None => format!("{SPACE}{token}"),
    });
    spec(
        &builder("bert", written.collect(), types)
            .meta("tokenizer.ggml.cls_token_id", Value::U32(cls))
            .meta("tokenizer.ggml.seperator_token_id", Value::U32(sep))
            .meta("tokenizer.ggml.unknown_token_id", Value::U32(unknown)),
    )
}
