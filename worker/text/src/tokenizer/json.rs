//! From `tokenizer.json` and the files beside it, as hubs keep them.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    Encoding, Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, PostProcessor,
    PostProcessorWrapper, PreTokenizerWrapper, Token,
};

use super::added::{Added, AddedToken};
use super::pieces::Pieces;
use super::sentencepiece::{SPACE, byte};
use super::split::Stage;
use super::{ByteLevel, General, Tokenizer, TokenizerError, Way, bytes, pre};

/// More ids than any vocabulary has; a larger one would be a mistake, and costly.
const MOST_IDS: u32 = 1 << 22;

/// The files of a tokenizer, as bytes.
#[derive(Clone, Copy, Debug)]
pub struct JsonFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`, which names tokens for templates.
    pub config: Option<&'a [u8]>,
    /// What `generation_config.json` or `config.json` says that a generation ends with.
    pub end_ids: &'a [u32],
}

#[derive(Deserialize)]
struct File {
    model: ModelWrapper,
    #[serde(default)]
    normalizer: Option<NormalizerWrapper>,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Option<PostProcessorWrapper>,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Vec<Entry>,
}

/// A token that is matched as a whole.
#[derive(Deserialize)]
struct Entry {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

pub(super) fn build(files: &JsonFiles<'_>) -> Result<Tokenizer, TokenizerError> {
    let file: File = read("tokenizer.json", files.tokenizer)?;
    let config = match files.config {
        Some(config) => read("tokenizer_config.json", config)?,
        None => Value::Null,
    };
    let tokens = tokens(&file)?;
    let pieces = pieces(&file.decoder, &tokens)?;
    let named = named(&config);
    let mut end_of_generation = files.end_ids.to_vec();
    let ends = |text: &str| {
        hearth_model::arch::ends_turn(text) || named.iter().any(|(name, n)| name == "eos_token" && n == text)
    };
    end_of_generation.extend((0u32..).zip(&tokens).filter(|(_, t)| ends(&t.text)).map(|(id, _)| id));
    end_of_generation.retain(|id| (*id as usize) < tokens.len());
    end_of_generation.sort_unstable();
    end_of_generation.dedup();
    let wrap = wrap(file.post_processor.as_ref())?;
    let (raw, normalized) = added(file.added_tokens, file.normalizer.as_ref())?;
    Ok(Tokenizer {
        added: Added::new(raw)?,
        way: way(file.model, file.normalizer, file.pre_tokenizer, Added::new(normalized)?)?,
        wrap,
        end_of_generation,
        named,
        longest: pieces.longest().max(4),
        pieces,
    })
}

fn read<T: serde::de::DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, TokenizerError> {
    serde_json::from_slice(bytes).map_err(|error| TokenizerError::File { file, message: error.to_string() })
}

/// A token of the whole vocabulary.
#[derive(Clone, Default)]
struct Known {
    text: String,
    /// Neither merged nor looked up, but matched.
    added: bool,
    control: bool,
}

fn tokens(file: &File) -> Result<Vec<Known>, TokenizerError> {
    let vocabulary = file.model.get_vocab();
    let ids = vocabulary.values().copied().chain(file.added_tokens.iter().map(|entry| entry.id));
    let last = ids.max().ok_or(TokenizerError::Missing)?;
    if last >= MOST_IDS {
        return Err(TokenizerError::inconsistent(format!(
            "token {last} is over the limit of {MOST_IDS} ids"
        )));
    }
    let mut tokens = vec![Known::default(); last as usize + 1];
    for (text, id) in vocabulary {
        tokens[id as usize] = Known { text, ..Known::default() };
    }
    for entry in &file.added_tokens {
        tokens[entry.id as usize] =
            Known { text: entry.content.clone(), added: true, control: entry.special };
    }
    Ok(tokens)
}

/// Tokens that are matched in the text as it is, and in the text as it was normalized.
fn added(
    entries: Vec<Entry>,
    normalizer: Option<&NormalizerWrapper>,
) -> Result<(Vec<AddedToken>, Vec<AddedToken>), TokenizerError> {
    let (mut raw, mut normalized) = (Vec::new(), Vec::new());
    for Entry { id, content, special, single_word, lstrip, rstrip, normalized: after } in entries {
        let mut token = AddedToken { id, text: content, control: special, single_word, lstrip, rstrip };
        match normalizer {
            Some(normalizer) if after => {
                let mut text = NormalizedString::from(token.text.as_str());
                normalizer.normalize(&mut text).map_err(TokenizerError::inconsistent)?;
                token.text = text.get().to_owned();
                normalized.push(token);
            }
            _ => raw.push(token),
        }
    }
    Ok((raw, normalized))
}

fn way(
    model: ModelWrapper,
    normalizer: Option<NormalizerWrapper>,
    pre: Value,
    normalized: Added,
) -> Result<Way, TokenizerError> {
    let nfc = match &normalizer {
        None => Some(false),
        Some(NormalizerWrapper::NFC(_)) => Some(true),
        Some(NormalizerWrapper::Sequence(steps)) if steps.as_ref().is_empty() => Some(false),
        Some(_) => None,
    };
    let stages = patterns(&pre).and_then(|patterns| {
        // What only an engine with look-ahead can match goes the general way.
        patterns.iter().map(|pattern| Stage::new(pattern).ok()).collect::<Option<Vec<_>>>()
    });
    match (model, nfc, stages) {
        (ModelWrapper::BPE(model), Some(nfc), Some(stages)) if is_plain(&model) => {
            Ok(Way::ByteLevel(Box::new(ByteLevel { nfc, normalized, stages, model })))
        }
        (model, ..) => {
            let pre =
                (!pre.is_null()).then(|| serde_json::from_value::<PreTokenizerWrapper>(pre)).transpose();
            let pre = pre.map_err(|error| TokenizerError::File {
                file: "tokenizer.json",
                message: format!("`pre_tokenizer`: {error}"),
            })?;
            Ok(Way::General(Box::new(General { normalizer, normalized, pre, model })))
        }
    }
}

/// Whether pairs of bytes merge and nothing else is done to a piece.
fn is_plain(model: &BPE) -> bool {
    let none = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    none(model.get_continuing_subword_prefix()) && none(&model.end_of_word_suffix) && !model.byte_fallback
}

/// The patterns of a pre-tokenizer that splits by patterns, then writes bytes as
/// characters. `None` for every other.
fn patterns(pre: &Value) -> Option<Vec<String>> {
    let steps = match pre["type"].as_str()? {
        "Sequence" => pre["pretokenizers"].as_array()?.as_slice(),
        _ => std::slice::from_ref(pre),
    };
    let (last, splits) = steps.split_last()?;
    if last["type"].as_str()? != "ByteLevel" || last["add_prefix_space"].as_bool()? {
        return None;
    }
    let mut patterns = splits.iter().map(pattern).collect::<Option<Vec<_>>>()?;
    if last["use_regex"].as_bool().unwrap_or(true) {
        patterns.push(pre::GPT2.to_owned());
    }
    Some(patterns)
}

fn pattern(step: &Value) -> Option<String> {
    match step["type"].as_str()? {
        "Digits" if step["individual_digits"].as_bool()? => Some(r"\p{N}".to_owned()),
        "Split" => {
            let pattern = step["pattern"]["Regex"].as_str()?;
            // To keep only what matches is to isolate it, where the pattern matches everything.
            let everything = pattern.ends_with(r"|\s+(?!\S)|\s+");
            match (step["behavior"].as_str()?, step["invert"].as_bool()?) {
                ("Isolated", false) => Some(pattern.to_owned()),
                ("Removed", true) if everything => Some(pattern.to_owned()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What the post-processor puts before and behind a text.
fn wrap(processor: Option<&PostProcessorWrapper>) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
    /// Stands for the text; no vocabulary has it.
    const TEXT: u32 = u32::MAX;
    let Some(processor) = processor else { return Ok((Vec::new(), Vec::new())) };
    let text = Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
    let whole = processor.process(text, None, true).map_err(TokenizerError::inconsistent)?;
    let mut parts = whole.get_ids().splitn(2, |id| *id == TEXT).map(<[u32]>::to_vec);
    Ok((parts.next().unwrap_or_default(), parts.next().unwrap_or_default()))
}

/// Every `..._token` of the configuration, written as a text or as an object with one.
fn named(config: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    let entries = config.as_object().into_iter().flatten();
    let named = entries.filter(|(name, _)| name.ends_with("_token"));
    named.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// How a decoder reads a token.
enum Alphabet {
    Bytes,
    Spaces { prefix: bool },
    Words { continues: String },
}

fn pieces(decoder: &Value, tokens: &[Known]) -> Result<Pieces, TokenizerError> {
    let alphabet = alphabet(decoder).ok_or_else(|| TokenizerError::File {
        file: "tokenizer.json",
        message: "`decoder` is none of ByteLevel, Metaspace, WordPiece and a sequence with ByteFallback"
            .into(),
    })?;
    let mut pieces = Pieces::with_capacity(tokens.len());
    for token in tokens {
        let text = token.text.as_str();
        match &alphabet {
            _ if token.control || text.is_empty() => pieces.push(b""),
            // Added tokens are written as they are; some are written in the alphabet, too.
            Alphabet::Bytes => {
                pieces.push(&bytes::bytes_of(text).unwrap_or_else(|| text.as_bytes().to_vec()));
            }
            Alphabet::Spaces { .. } => match byte(text) {
                Some(byte) => pieces.push(&[byte]),
                None => pieces.push(text.replace(SPACE, " ").as_bytes()),
            },
            Alphabet::Words { continues } => match text.strip_prefix(continues.as_str()) {
                Some(end) if !token.added => pieces.push(end.as_bytes()),
                _ => pieces.push(format!(" {text}").as_bytes()),
            },
        }
    }
    Ok(match alphabet {
        Alphabet::Bytes | Alphabet::Spaces { prefix: false } => pieces,
        Alphabet::Spaces { prefix: true } | Alphabet::Words { .. } => pieces.after_a_space(),
    })
}

fn alphabet(decoder: &Value) -> Option<Alphabet> {
    let steps = match decoder["type"].as_str()? {
        "Sequence" => decoder["decoders"].as_array()?.as_slice(),
        _ => std::slice::from_ref(decoder),
    };
    let has = |kind: &str| steps.iter().find(|step| step["type"] == kind);
    if has("ByteLevel").is_some() {
        return Some(Alphabet::Bytes);
    }
    if let Some(words) = has("WordPiece") {
        return Some(Alphabet::Words { continues: words["prefix"].as_str()?.to_owned() });
    }
    if let Some(spaces) = has("Metaspace") {
        let never = spaces["prepend_scheme"] == "never" || spaces["add_prefix_space"] == false;
        return Some(Alphabet::Spaces { prefix: !never });
    }
    let strips = has("Strip").is_some_and(|strip| strip["start"].as_u64().is_some_and(|n| n > 0));
    has("ByteFallback").map(|_| Alphabet::Spaces { prefix: strips })
}
