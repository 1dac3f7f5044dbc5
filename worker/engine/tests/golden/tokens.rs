//! The same token ids as another tokenizer, and the text back.

use hearth_model::{Model, gguf};
use hearth_text::tokenizer::Tokenizer;
use serde::Deserialize;

use crate::files::{self, Greedy};

#[derive(Deserialize)]
struct Line {
    text: String,
    ids: Vec<u32>,
}

fn tokenizer() -> Tokenizer {
    let model = Model::from_gguf(&gguf::read_file(&files::model()).unwrap()).unwrap();
    Tokenizer::new(&model.tokenizer.unwrap()).unwrap()
}

#[test]
fn ids_are_those_of_another_tokenizer_and_decode_to_the_text() {
    let tokenizer = tokenizer();
    let lines = files::items::<Line>("tokens.json");
    assert!(lines.len() >= 1_000, "{}", lines.len());
    for Line { text, ids } in lines {
        assert_eq!(tokenizer.encode(&text, true).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn prompts_are_tokenized_alike() {
    let tokenizer = tokenizer();
    for golden in files::items::<Greedy>("greedy.json") {
        assert_eq!(tokenizer.encode(&golden.text, false).unwrap(), golden.prompt_ids, "{}", golden.name);
    }
}
