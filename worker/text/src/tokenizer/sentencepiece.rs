//! SentencePiece vocabularies with scores and byte fallback.

use std::collections::HashMap;

use hearth_model::arch::{TokenType, TokenizerSpec};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence};

use super::TokenizerError;
use super::pieces::Pieces;

/// U+2581, which these vocabularies write for a space.
const SPACE: &str = "\u{2581}";

pub(super) fn encoder(spec: &TokenizerSpec) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let vocab = spec.tokens.iter().cloned().zip(0u32..).collect::<Vocab>();
    let mut model = BPE::builder().vocab_and_merges(vocab, merges(spec)).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = spec.unknown.and_then(|id| spec.tokens.get(id as usize)) {
        model = model.unk_token(unknown.clone());
    }
    let model = model.build().map_err(TokenizerError::inconsistent)?;
    let mut normalizers = Vec::with_capacity(2);
    if spec.add_space_prefix {
        normalizers.push(Prepend::new(SPACE.into()).into());
    }
    normalizers.push(Replace::new(" ", SPACE).map_err(TokenizerError::inconsistent)?.into());
    let mut encoder = tokenizers::Tokenizer::new(model);
    encoder.with_normalizer(Some(Sequence::new(normalizers)));
    Ok(encoder)
}

/// The merges that scores stand for: a piece comes from any two pieces that
/// spell it, the best score first, ties by the parts' own ids.
fn merges(spec: &TokenizerSpec) -> Merges {
    let mergeable = |id: usize| match spec.types[id] {
        TokenType::Normal | TokenType::UserDefined | TokenType::Unused => true,
        TokenType::Unknown | TokenType::Control | TokenType::Byte => false,
    };
    let ids = spec.tokens.iter().enumerate().filter(|(id, _)| mergeable(*id));
    let ids = ids.map(|(id, token)| (token.as_str(), id)).collect::<HashMap<_, _>>();
    let mut found = Vec::new();
    for (&token, &id) in &ids {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                let score = spec.scores.get(id).copied().unwrap_or(f32::MIN);
                found.push((score, id, l, r));
            }
        }
    }
    found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    let pair = |(_, _, l, r): (f32, usize, usize, usize)| (spec.tokens[l].clone(), spec.tokens[r].clone());
    found.into_iter().map(pair).collect()
}

pub(super) fn pieces(spec: &TokenizerSpec) -> Pieces {
    let mut pieces = Pieces::with_capacity(spec.tokens.len());
    for (token, kind) in spec.tokens.iter().zip(&spec.types) {
        match kind {
            TokenType::Control | TokenType::Unknown => pieces.push(b""),
            TokenType::Byte => match byte(token) {
                Some(byte) => pieces.push(&[byte]),
                None => pieces.push(token.as_bytes()),
            },
            TokenType::Normal | TokenType::UserDefined | TokenType::Unused => {
                pieces.push(token.replace(SPACE, " ").as_bytes());
            }
        }
    }
    pieces
}

/// The byte of a token that is written `<0x0A>`.
fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use hearth_model::arch::{TokenType, TokenizerKind, TokenizerSpec};

    use super::super::Tokenizer;

    fn spec() -> TokenizerSpec {
        let mut tokens = vec!["<unk>".to_owned(), "<s>".into(), "</s>".into()];
        let mut types = vec![TokenType::Unknown, TokenType::Control, TokenType::Control];
        let mut scores = vec![0.0; 3];
        for byte in 0..=u8::MAX {
            tokens.push(format!("<0x{byte:02X}>"));
            types.push(TokenType::Byte);
            scores.push(0.0);
        }
        for (score, piece) in
            ["\u{2581}h", "el", "lo", "\u{2581}hel", "\u{2581}hello"].into_iter().enumerate()
        {
            tokens.push(piece.into());
            types.push(TokenType::Normal);
            scores.push(-(score as f32));
        }
        for piece in ["\u{2581}", "h", "e", "l", "o"] {
            tokens.push(piece.into());
            types.push(TokenType::Normal);
            scores.push(-1e9);
        }
        TokenizerSpec {
            kind: TokenizerKind::SentencePiece,
            pre: None,
            tokens,
            types,
            scores,
            merges: vec![],
            bos: Some(1),
            eos: Some(2),
            eot: None,
            unknown: Some(0),
            padding: None,
            add_bos: true,
            add_eos: false,
            add_space_prefix: true,
            end_of_generation: vec![2],
        }
    }

    #[test]
    fn merges_follow_scores_and_bytes_fall_back() {
        let tokenizer = Tokenizer::new(&spec()).unwrap();
        assert_eq!(tokenizer.encode("hello", true).unwrap(), [1, 263]);
        // U+00E9 is not in the vocabulary: its two bytes are.
        let ids = tokenizer.encode("h\u{e9}", false).unwrap();
        assert_eq!(ids, [259, 3 + 0xc3, 3 + 0xa9]);
        assert_eq!(tokenizer.decode(&ids), " h\u{e9}");
    }

    #[test]
    fn special_tokens_are_matched_in_text() {
        let tokenizer = Tokenizer::new(&spec()).unwrap();
        let ids = tokenizer.encode("<s>hello</s>", true).unwrap();
        assert_eq!(ids, [1, 263, 2]);
        assert_eq!(tokenizer.decode(&ids), " hello");
    }
}
