//! The vocabulary as the file describes it.

use super::ArchError;
use crate::Metadata;

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerKind {
    /// Byte-level byte-pair encoding: merges in order, bytes written as printable
    /// characters (`gpt2` in GGUF).
    Bpe,
    /// SentencePiece with scores and byte fallback (`llama` in GGUF).
    SentencePiece,
    /// WordPiece: the longest pieces from the left of each word (`bert` in GGUF).
    WordPiece,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenType {
    fn from_gguf(id: u64) -> Option<Self> {
        Some(match id {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// A vocabulary: all ids are below `tokens.len()`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerSpec {
    /// The kind.
    pub kind: TokenizerKind,
    /// The name of the pre-tokenizer: how text is split before merging
    /// (`smollm`, `llama-bpe`). `None` if the file names none.
    pub pre: Option<String>,
    /// The text of each token, by id.
    pub tokens: Vec<String>,
    /// What each token is for, by id.
    pub types: Vec<TokenType>,
    /// The score of each token, by id; only for [`TokenizerKind::SentencePiece`].
    pub scores: Vec<f32>,
    /// Pairs that merge, first merge first; only for [`TokenizerKind::Bpe`].
    pub merges: Vec<(String, String)>,
    /// Begins a sequence.
    pub bos: Option<u32>,
    /// Ends a sequence.
    pub eos: Option<u32>,
    /// Ends a turn.
    pub eot: Option<u32>,
    /// Stands for what has no token.
    pub unknown: Option<u32>,
    /// Fills a batch.
    pub padding: Option<u32>,
    /// Whether `bos` is put before a prompt.
    pub add_bos: bool,
    /// Whether `eos` is put after a prompt.
    pub add_eos: bool,
    /// Whether a space is put before a prompt; only for [`TokenizerKind::SentencePiece`].
    pub add_space_prefix: bool,
    /// The tokens at which a generation ends: `eos`, `eot` and those that by their
    /// text end a turn. Sorted.
    pub end_of_generation: Vec<u32>,
}

/// Texts by which a token ends a turn, whatever key the file forgot.
const TURN_ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<|return|>",
    "<|call|>",
];

/// Whether a token of this text ends a turn, whatever else the file says of it.
#[must_use]
pub fn ends_turn(text: &str) -> bool {
    TURN_ENDS.contains(&text)
}

/// Pre-tokenizers whose models were trained with a start token although their
/// files do not say so.
const PRE_WITH_BOS: &[&str] = &["llama3", "llama-v3", "llama-bpe"];

impl TokenizerSpec {
    /// Reads the vocabulary of a GGUF header; `None` if it has none.
    ///
    /// # Errors
    /// A key is wrong, or the parts contradict each other.
    pub fn from_gguf(metadata: &Metadata) -> Result<Option<Self>, ArchError> {
        let Some(model) = metadata.str("tokenizer.ggml.model")? else { return Ok(None) };
        let kind = match model {
            "gpt2" => TokenizerKind::Bpe,
            "llama" => TokenizerKind::SentencePiece,
            "bert" => TokenizerKind::WordPiece,
            other => {
                return Err(ArchError::Unsupported {
                    feature: "the tokenizer (`tokenizer.ggml.model`)",
                    found: crate::header::excerpt(other),
                    remedy: "supported are `gpt2`, `llama` and `bert`",
                });
            }
        };
        let pre = metadata.str("tokenizer.ggml.pre")?.map(str::to_owned);
        let tokens = metadata.require_strings("tokenizer.ggml.tokens")?.to_vec();
        if tokens.is_empty() {
            return Err(ArchError::Tokenizer("`tokenizer.ggml.tokens` is empty".to_owned()));
        }
        let types = types(metadata, tokens.len())?;
        let scores = match kind {
            TokenizerKind::Bpe | TokenizerKind::WordPiece => Vec::new(),
            TokenizerKind::SentencePiece => {
                let scores = metadata.require_f32s("tokenizer.ggml.scores")?;
                same_length("tokenizer.ggml.scores", scores.len(), tokens.len())?;
                scores.to_vec()
            }
        };
        let merges = match kind {
            TokenizerKind::Bpe => merges(metadata.require_strings("tokenizer.ggml.merges")?)?,
            TokenizerKind::SentencePiece | TokenizerKind::WordPiece => Vec::new(),
        };
        let id = |name: &str| id(metadata, name, tokens.len());
        let (bos, eos, eot, eom) = (id("bos")?, id("eos")?, id("eot")?, id("eom")?);
        let (bos, eos) = match kind {
            TokenizerKind::Bpe | TokenizerKind::SentencePiece => (bos, eos),
            // The format's own spelling.
            TokenizerKind::WordPiece => (id("cls")?.or(bos), id("seperator")?.or(eos)),
        };
        let (unknown, padding) = (id("unknown")?, id("padding")?);
        let add_bos = match kind {
            TokenizerKind::SentencePiece | TokenizerKind::WordPiece => true,
            TokenizerKind::Bpe => pre.as_deref().is_some_and(|p| PRE_WITH_BOS.contains(&p)),
        };
        let add_bos = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos);
        let add_eos =
            metadata.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(kind == TokenizerKind::WordPiece);
        needs("add_bos_token", add_bos, "bos_token_id", bos)?;
        needs("add_eos_token", add_eos, "eos_token_id", eos)?;
        let add_space_prefix = metadata
            .bool("tokenizer.ggml.add_space_prefix")?
            .unwrap_or(matches!(kind, TokenizerKind::SentencePiece));

        let by_text = (0u32..).zip(&tokens).filter(|(_, t)| ends_turn(t)).map(|(i, _)| i);
        let mut end_of_generation: Vec<u32> = by_text.chain(eos).chain(eot).chain(eom).collect();
        end_of_generation.sort_unstable();
        end_of_generation.dedup();
        Ok(Some(Self {
            kind,
            pre,
            tokens,
            types,
            scores,
            merges,
            bos,
            eos,
            eot,
            unknown,
            padding,
            add_bos,
            add_eos,
            add_space_prefix,
            end_of_generation,
        }))
    }
}

fn same_length(key: &str, found: usize, tokens: usize) -> Result<(), ArchError> {
    if found == tokens {
        return Ok(());
    }
    Err(ArchError::Tokenizer(format!("`{key}` has {found} elements for {tokens} tokens")))
}

fn needs(flag: &str, set: bool, id: &str, value: Option<u32>) -> Result<(), ArchError> {
    if !set || value.is_some() {
        return Ok(());
    }
    Err(ArchError::Tokenizer(format!("`tokenizer.ggml.{flag}` is set but `tokenizer.ggml.{id}` is not")))
}

fn types(metadata: &Metadata, tokens: usize) -> Result<Vec<TokenType>, ArchError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let Some(ids) = metadata.u64s(KEY)? else { return Ok(vec![TokenType::Normal; tokens]) };
    same_length(KEY, ids.len(), tokens)?;
    ids.into_iter()
        .map(|id| {
            let unknown = || ArchError::Tokenizer(format!("`{KEY}` has an element {id}; allowed: 1 to 6"));
            TokenType::from_gguf(id).ok_or_else(unknown)
        })
        .collect()
}

/// Splits each merge at its first space that is not its first character: a piece
/// may begin with a space but none is empty.
fn merges(lines: &[String]) -> Result<Vec<(String, String)>, ArchError> {
    let split = |line: &String| {
        let first = line.chars().next().map_or(0, char::len_utf8);
        let (left, right) = line[first..].split_once(' ').filter(|(_, right)| !right.is_empty())?;
        Some((line[..first + left.len()].to_owned(), right.to_owned()))
    };
    let refused = |(i, line): (usize, &String)| {
        let line = crate::header::excerpt(line);
        ArchError::Tokenizer(format!("merge {i} is {line:?}; it must be two pieces with a space between"))
    };
    lines.iter().enumerate().map(|(i, line)| split(line).ok_or_else(|| refused((i, line)))).collect()
}

/// The id under `tokenizer.ggml.<name>_token_id`. All bits set means none, as
/// some converters write it.
fn id(metadata: &Metadata, name: &str, tokens: usize) -> Result<Option<u32>, ArchError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match metadata.u32(&key)? {
        None | Some(u32::MAX) => Ok(None),
        Some(id) if (id as usize) < tokens => Ok(Some(id)),
        Some(id) => Err(ArchError::Tokenizer(format!("`{key}` is {id}, but there are {tokens} tokens"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_keep_leading_spaces_and_refuse_nonsense() {
        let ok = merges(&["a b".into(), "  b".into(), "é x y".into()]).unwrap();
        assert_eq!(ok[0], ("a".into(), "b".into()));
        assert_eq!(ok[1], (" ".into(), "b".into()));
        assert_eq!(ok[2], ("é".into(), "x y".into()));
        for bad in ["", "a", "ab", "a "] {
            assert!(merges(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
