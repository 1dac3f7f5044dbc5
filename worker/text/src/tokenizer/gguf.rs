//! From the header of a GGUF file.

use hearth_model::arch::{TokenType, TokenizerKind, TokenizerSpec};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::added::{Added, AddedToken};
use super::pieces::Pieces;
use super::sentencepiece::{SPACE, byte, is_spaced};
use super::split::Stage;
use super::{ByteLevel, General, SentencePiece, Tokenizer, TokenizerError, Way, bytes, pre};

/// What continues a word in a WordPiece vocabulary.
const CONTINUES: &str = "##";

/// Characters of the longest word that WordPiece looks into.
const LONGEST_WORD: usize = 100;

pub(super) fn build(spec: &TokenizerSpec) -> Result<Tokenizer, TokenizerError> {
    let (way, pieces) = match spec.kind {
        TokenizerKind::Bpe => (Way::ByteLevel(Box::new(byte_level(spec)?)), byte_pieces(spec)?),
        TokenizerKind::SentencePiece => {
            (Way::SentencePiece(SentencePiece::new(spec)?), sentence_pieces(spec))
        }
        TokenizerKind::WordPiece => (Way::General(Box::new(word_piece(spec)?)), word_pieces(spec)),
    };
    let text = |id: Option<u32>| id.and_then(|id| spec.tokens.get(id as usize)).cloned();
    let named = [
        ("bos_token", spec.bos),
        ("eos_token", spec.eos),
        ("unk_token", spec.unknown),
        ("pad_token", spec.padding),
    ];
    Ok(Tokenizer {
        added: Added::new(added(spec))?,
        way,
        wrap: (
            spec.bos.filter(|_| spec.add_bos).into_iter().collect(),
            spec.eos.filter(|_| spec.add_eos).into_iter().collect(),
        ),
        end_of_generation: spec.end_of_generation.clone(),
        named: named.into_iter().filter_map(|(name, id)| Some((name.to_owned(), text(id)?))).collect(),
        // An unknown character can become one token, whatever its length.
        longest: pieces.longest().max(4),
        pieces,
    })
}

/// Tokens that are matched in the text before anything is split or merged.
fn added(spec: &TokenizerSpec) -> Vec<AddedToken> {
    let typed = spec.tokens.iter().zip(&spec.types).zip(0u32..);
    let matched = typed.filter_map(|((text, kind), id)| {
        let control = match kind {
            // What stands for the unknown is no text either.
            TokenType::Control | TokenType::Unknown => true,
            TokenType::UserDefined => false,
            TokenType::Normal | TokenType::Unused | TokenType::Byte => return None,
        };
        Some(AddedToken { id, text: text.clone(), control, ..AddedToken::default() })
    });
    // To SentencePiece a space and its sign are one, so what holds either is matched later.
    let later = |token: &AddedToken| spec.kind == TokenizerKind::SentencePiece && is_spaced(token);
    matched.filter(|token| !later(token)).collect()
}

fn byte_level(spec: &TokenizerSpec) -> Result<ByteLevel, TokenizerError> {
    let pre = pre::find(spec.pre.as_deref().unwrap_or(pre::DEFAULT))?;
    let vocab = spec.tokens.iter().cloned().zip(0u32..).collect::<Vocab>();
    let model = BPE::builder()
        .vocab_and_merges(vocab, spec.merges.clone())
        .ignore_merges(pre.whole_words)
        .build()
        .map_err(TokenizerError::inconsistent)?;
    Ok(ByteLevel {
        nfc: pre.nfc,
        normalized: Added::default(),
        stages: pre.patterns.iter().map(|pattern| Stage::new(pattern)).collect::<Result<_, _>>()?,
        model,
    })
}

fn byte_pieces(spec: &TokenizerSpec) -> Result<Pieces, TokenizerError> {
    let mut pieces = Pieces::with_capacity(spec.tokens.len());
    for ((token, kind), id) in spec.tokens.iter().zip(&spec.types).zip(0u32..) {
        match kind {
            // Padding of the vocabulary to a round number has any text at all.
            TokenType::Control | TokenType::Unknown | TokenType::Unused => pieces.push(b""),
            // Written as it is, not in the byte alphabet.
            TokenType::UserDefined => pieces.push(token.as_bytes()),
            TokenType::Normal | TokenType::Byte => {
                let decoded = bytes::bytes_of(token);
                pieces.push(&decoded.ok_or_else(|| TokenizerError::Alphabet { id, token: token.clone() })?);
            }
        }
    }
    Ok(pieces)
}

fn sentence_pieces(spec: &TokenizerSpec) -> Pieces {
    let mut pieces = Pieces::with_capacity(spec.tokens.len());
    for (token, kind) in spec.tokens.iter().zip(&spec.types) {
        match (kind, byte(token)) {
            (TokenType::Control | TokenType::Unknown, _) => pieces.push(b""),
            (TokenType::Byte, Some(byte)) => pieces.push(&[byte]),
            _ => pieces.push(token.replace(SPACE, " ").as_bytes()),
        }
    }
    if spec.add_space_prefix { pieces.after_a_space() } else { pieces }
}

/// WordPiece as converters write it: what begins a word has the sign for a space
/// before it, what continues one has nothing.
fn word_piece(spec: &TokenizerSpec) -> Result<General, TokenizerError> {
    let original = |((token, kind), id): ((&String, &TokenType), u32)| {
        let text = match (token.strip_prefix(SPACE), kind) {
            (Some(word), _) => word.to_owned(),
            (None, TokenType::Normal) if !is_bracketed(token) => format!("{CONTINUES}{token}"),
            (None, _) => token.clone(),
        };
        (text, id)
    };
    let vocab = spec.tokens.iter().zip(&spec.types).zip(0u32..).map(original).collect::<Vec<_>>();
    // No file says whether case matters. A vocabulary without capitals cannot tell.
    let lowercase =
        !vocab.iter().any(|(token, _)| !is_bracketed(token) && token.chars().any(|c| c.is_ascii_uppercase()));
    let unknown = spec.unknown.and_then(|id| spec.tokens.get(id as usize)).map_or("[UNK]", String::as_str);
    let model = WordPiece::builder()
        .vocab(vocab.into_iter().collect::<Vocab>())
        .unk_token(unknown.to_owned())
        .continuing_subword_prefix(CONTINUES.to_owned())
        .max_input_chars_per_word(LONGEST_WORD)
        .build()
        .map_err(TokenizerError::inconsistent)?;
    Ok(General {
        normalizer: Some(BertNormalizer::new(true, true, None, lowercase).into()),
        normalized: Added::default(),
        pre: Some(BertPreTokenizer.into()),
        model: model.into(),
    })
}

fn word_pieces(spec: &TokenizerSpec) -> Pieces {
    let mut pieces = Pieces::with_capacity(spec.tokens.len());
    for (token, kind) in spec.tokens.iter().zip(&spec.types) {
        match kind {
            TokenType::Control | TokenType::Unknown => pieces.push(b""),
            _ => pieces.push(token.replace(SPACE, " ").as_bytes()),
        }
    }
    pieces.after_a_space()
}

fn is_bracketed(token: &str) -> bool {
    token.starts_with('[') && token.ends_with(']')
}

#[cfg(test)]
mod tests {
    use hearth_model::arch::{TokenType, TokenizerKind, TokenizerSpec};

    use super::super::Tokenizer;

    fn spec(kind: TokenizerKind, special: &[(&str, TokenType)]) -> TokenizerSpec {
        TokenizerSpec {
            kind,
            pre: None,
            tokens: special.iter().map(|(text, _)| (*text).to_owned()).collect(),
            types: special.iter().map(|(_, kind)| *kind).collect(),
            scores: vec![0.0; special.len()],
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

    fn sentencepiece() -> TokenizerSpec {
        let special =
            [("<unk>", TokenType::Unknown), ("<s>", TokenType::Control), ("</s>", TokenType::Control)];
        let mut spec = spec(TokenizerKind::SentencePiece, &special);
        let mut add = |text: String, kind, score: f32| {
            spec.tokens.push(text);
            spec.types.push(kind);
            spec.scores.push(score);
        };
        for byte in 0..=u8::MAX {
            add(format!("<0x{byte:02X}>"), TokenType::Byte, 0.0);
        }
        for (score, piece) in
            ["\u{2581}h", "el", "lo", "\u{2581}hel", "\u{2581}hello"].into_iter().enumerate()
        {
            add(piece.into(), TokenType::Normal, -(score as f32));
        }
        for piece in ["\u{2581}", "h", "e", "l", "o"] {
            add(piece.into(), TokenType::Normal, -1e9);
        }
        spec
    }

    #[test]
    fn merges_follow_scores_and_bytes_fall_back() {
        let tokenizer = Tokenizer::new(&sentencepiece()).unwrap();
        assert_eq!(tokenizer.encode("hello", true).unwrap(), [1, 263]);
        // U+00E9 is not in the vocabulary: its two bytes are.
        let ids = tokenizer.encode("h\u{e9}", false).unwrap();
        assert_eq!(ids, [259, 3 + 0xc3, 3 + 0xa9]);
        assert_eq!(tokenizer.decode(&ids), "h\u{e9}");
        assert_eq!(tokenizer.bytes_of(259), b" h");
    }

    #[test]
    fn special_tokens_are_read_where_they_may_be() {
        let tokenizer = Tokenizer::new(&sentencepiece()).unwrap();
        let ids = tokenizer.encode("<s>hello</s>", true).unwrap();
        assert_eq!(ids, [1, 263, 2]);
        assert_eq!(tokenizer.decode(&ids), "hello");
        let text = tokenizer.encode_text("<s>hello").unwrap();
        assert!(!text.contains(&1));
        assert_eq!(tokenizer.decode(&text), "<s>hello");
    }

    #[test]
    fn words_are_looked_up_piece_by_piece() {
        let special =
            [("[UNK]", TokenType::Unknown), ("[CLS]", TokenType::Control), ("[SEP]", TokenType::Control)];
        let mut spec = spec(TokenizerKind::WordPiece, &special);
        for piece in ["\u{2581}run", "ning", "\u{2581},"] {
            spec.tokens.push(piece.into());
            spec.types.push(TokenType::Normal);
        }
        spec.add_eos = true;
        let tokenizer = Tokenizer::new(&spec).unwrap();
        let ids = tokenizer.encode("Running, x", true).unwrap();
        assert_eq!(ids, [1, 3, 4, 5, 0, 2]);
        assert_eq!(tokenizer.decode(&ids), "running ,");
    }
}
