//! The vocabulary of a model's file, with llama.cpp's ids.

use hearth_model::{Model, gguf};
use hearth_text::tokenizer::Tokenizer;
use serde::Deserialize;

use crate::files;

#[derive(Deserialize)]
struct Lines {
    items: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Prompts {
    items: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    name: String,
    text: String,
    prompt_ids: Vec<u32>,
}

pub(crate) fn read() -> Model {
    Model::from_gguf(&gguf::read_file(&files::model()).unwrap()).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::new(&read().tokenizer.unwrap()).unwrap()
}

#[test]
fn ids_are_those_of_another_tokenizer_and_decode_to_the_text() {
    let tokenizer = tokenizer();
    let Lines { items } = files::golden("tokens.json");
    assert!(items.len() >= 1_000, "{}", items.len());
    for Line { text, ids } in items {
        assert_eq!(tokenizer.encode(&text, true).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn prompts_are_tokenized_alike() {
    let tokenizer = tokenizer();
    let Prompts { items } = files::golden("greedy.json");
    for Prompt { name, text, prompt_ids } in items {
        assert_eq!(tokenizer.encode(&text, false).unwrap(), prompt_ids, "{name}");
    }
}
