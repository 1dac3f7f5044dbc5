//! Each family's chat template, rendered as transformers renders it.

use hearth_text::template::ChatTemplate;
use hearth_text::tokenizer::Tokenizer;
use hearth_text::{Chat, ChatMessage, Json};
use serde::Deserialize;

use crate::files::{self, Family};
use crate::model;

/// When the goldens were made, as their clock had it.
const NOW: &str = "2024-03-05T14:07:09[UTC]";

#[derive(Deserialize)]
struct Conversation {
    name: String,
    messages: Vec<Json>,
    #[serde(default)]
    tools: Vec<Json>,
    add_generation_prompt: Option<bool>,
    options: Option<Json>,
}

impl Conversation {
    fn chat(&self) -> Chat {
        let options = match &self.options {
            Some(Json::Object(fields)) => fields.clone(),
            _ => vec![],
        };
        Chat {
            add_generation_prompt: self.add_generation_prompt.unwrap_or(true),
            tools: self.tools.clone(),
            options,
            ..Chat::new(self.messages.iter().map(message).collect())
        }
    }
}

fn message(json: &Json) -> ChatMessage {
    let Json::Object(fields) = json else { panic!("{json:?}") };
    let others = fields.iter().filter(|(name, _)| name != "role" && name != "content");
    ChatMessage {
        role: json.get("role").and_then(Json::as_str).unwrap().to_owned(),
        content: json.get("content").cloned(),
        fields: others.cloned().collect(),
    }
}

#[derive(Deserialize)]
struct Golden {
    rows: Vec<Row>,
}

/// What transformers made of a conversation: a text and its ids, or an error.
#[derive(Deserialize)]
struct Row {
    name: String,
    text: Option<String>,
    /// Absent where transformers does not read the vocabulary as it was trained.
    ids: Option<Vec<u32>>,
    error: Option<String>,
}

/// transformers takes a content that is null out of a message, though templates ask for it.
const NULL_IS_GONE: &str = "'dict object' has no attribute 'content'";

fn check(family: &str, source: &str, tokenizer: &Tokenizer) {
    let conversations: Vec<Conversation> = files::golden("templates/conversations.json");
    let Golden { rows } = files::golden(&format!("templates/{family}.json"));
    assert_eq!(conversations.len(), rows.len());
    assert!(rows.iter().filter(|row| row.text.is_some()).count() >= 10);
    let named = tokenizer.named().to_vec();
    let template = ChatTemplate::new(source, named, tokenizer.control_texts()).unwrap();
    let mut wrong = Vec::new();
    for (conversation, row) in conversations.iter().zip(rows) {
        assert_eq!(conversation.name, row.name);
        let rendered = template.render(&conversation.chat(), &NOW.parse().unwrap());
        match (row.text, rendered) {
            (None, Err(_)) => {}
            (None, Ok(_)) if row.error.as_deref() == Some(NULL_IS_GONE) => {}
            (None, Ok(rendered)) => wrong.push(format!("{}: rendered {:?}", row.name, rendered.text)),
            (Some(text), Err(error)) => wrong.push(format!("{}: {error}, not {text:?}", row.name)),
            (Some(text), Ok(rendered)) => {
                let ids = tokenizer.encode_rendered(&rendered).unwrap();
                if rendered.text != text {
                    wrong.push(format!("{}:\n{:?}\nis not\n{text:?}", row.name, rendered.text));
                } else if row.ids.as_ref().is_some_and(|golden| *golden != ids) {
                    wrong.push(format!("{}: {ids:?} is not {:?}", row.name, row.ids));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{family}: {}", wrong.join("\n"));
}

fn check_family(family: &str) {
    #[derive(Deserialize)]
    struct Config {
        chat_template: String,
    }
    let files = Family::named(family);
    let config: Config = serde_json::from_slice(&files.read("tokenizer_config.json").unwrap()).unwrap();
    check(family, &config.chat_template, &files.tokenizer());
}

#[test]
fn deepseek_v3() {
    check_family("deepseek-v3");
}

#[test]
fn gemma3() {
    check_family("gemma3");
}

#[test]
fn llama3() {
    check_family("llama3");
}

#[test]
fn mistral_nemo() {
    check_family("mistral-nemo");
}

#[test]
fn qwen2_5() {
    check_family("qwen2.5");
}

#[test]
fn qwen3() {
    check_family("qwen3");
}

#[test]
fn smollm2() {
    let model = model::read();
    let tokenizer = Tokenizer::new(&model.tokenizer.unwrap()).unwrap();
    check("smollm2", &model.chat_template.unwrap(), &tokenizer);
}
