//! Byte-level byte-pair encoding.

use hearth_model::arch::{TokenType, TokenizerSpec};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use super::pieces::Pieces;
use super::{TokenizerError, bytes, pre};

pub(super) fn encoder(spec: &TokenizerSpec) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let pre = pre::find(spec.pre.as_deref().unwrap_or(pre::DEFAULT))?;
    let vocab = spec.tokens.iter().cloned().zip(0u32..).collect::<Vocab>();
    let model = BPE::builder()
        .vocab_and_merges(vocab, spec.merges.clone())
        .ignore_merges(pre.whole_words)
        .build()
        .map_err(TokenizerError::inconsistent)?;
    let mut splits = Vec::with_capacity(pre.patterns.len() + 1);
    for pattern in pre.patterns {
        splits.push(split(pattern)?);
    }
    // The patterns have split already; this only writes bytes as characters.
    splits.push(ByteLevel::new(false, false, false).into());
    let mut encoder = tokenizers::Tokenizer::new(model);
    encoder.with_pre_tokenizer(Some(Sequence::new(splits)));
    Ok(encoder)
}

fn split(pattern: &str) -> Result<PreTokenizerWrapper, TokenizerError> {
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    let pattern = SplitPattern::Regex(pattern.into());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    Ok(split.map_err(TokenizerError::inconsistent)?.into())
}

pub(super) fn pieces(spec: &TokenizerSpec) -> Result<Pieces, TokenizerError> {
    let mut pieces = Pieces::with_capacity(spec.tokens.len());
    for ((token, kind), id) in spec.tokens.iter().zip(&spec.types).zip(0u32..) {
        match kind {
            TokenType::Control | TokenType::Unknown => pieces.push(b""),
            // Written as it is, not in the byte alphabet.
            TokenType::UserDefined => pieces.push(token.as_bytes()),
            TokenType::Normal | TokenType::Byte => {
                let decoded = token.chars().map(bytes::byte_of).collect::<Option<Vec<_>>>();
                let decoded = decoded.ok_or_else(|| TokenizerError::Alphabet { id, token: token.clone() })?;
                pieces.push(&decoded);
            }
            // Padding of the vocabulary to a round number has any text at all.
            TokenType::Unused => pieces.push(b""),
        }
    }
    Ok(pieces)
}
