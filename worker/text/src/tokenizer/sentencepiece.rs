//! SentencePiece's byte-pair encoding: of all neighbours whose text is a piece of the
//! vocabulary, the pair with the best score merges first, the leftmost of equals.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use hearth_model::arch::{TokenType, TokenizerSpec};

use super::TokenizerError;
use super::added::{Added, AddedToken, Control, Cut};

/// U+2581, which these vocabularies write for a space.
pub(super) const SPACE: char = '\u{2581}';

#[derive(Debug)]
pub(super) struct SentencePiece {
    pieces: HashMap<Box<str>, Piece>,
    /// The token of each byte.
    bytes: Box<[Option<u32>; 256]>,
    unknown: Option<u32>,
    /// User-defined tokens with spaces, which are matched whichever way those are written.
    spaced: Added,
    /// Whether text begins with a space that nobody wrote.
    add_space_prefix: bool,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    id: u32,
    score: f32,
}

/// A part of the text, in a list with its neighbours. Gone when it has no length.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    len: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that could merge.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Of the merged text; when a part has changed meanwhile, so has the sum.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl SentencePiece {
    pub(super) fn new(spec: &TokenizerSpec) -> Result<Self, TokenizerError> {
        let mut pieces = HashMap::with_capacity(spec.tokens.len());
        let mut bytes = Box::new([None; 256]);
        let mut spaced = Vec::new();
        for ((token, kind), id) in spec.tokens.iter().zip(&spec.types).zip(0u32..) {
            match kind {
                TokenType::Normal | TokenType::UserDefined | TokenType::Unused => {
                    let score = spec.scores.get(id as usize).copied().unwrap_or(f32::MIN);
                    let text = written(token);
                    let added = AddedToken { id, text: text.clone(), ..AddedToken::default() };
                    spaced.extend(Some(added).filter(|a| *kind == TokenType::UserDefined && is_spaced(a)));
                    pieces.entry(text.into()).or_insert(Piece { id, score });
                }
                TokenType::Byte => {
                    if let Some(byte) = byte(token) {
                        bytes[usize::from(byte)] = Some(id);
                    }
                }
                TokenType::Unknown | TokenType::Control => {}
            }
        }
        let (spaced, unknown) = (Added::new(spaced)?, spec.unknown);
        Ok(Self { pieces, bytes, unknown, spaced, add_space_prefix: spec.add_space_prefix })
    }

    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let prefix = if self.add_space_prefix { " " } else { "" };
        let text = written(&[prefix, text].concat());
        for cut in self.spaced.cut(&text, Control::Nowhere) {
            match cut {
                Cut::Token(id, _) => ids.push(id),
                Cut::Text(range) => self.encode_written(&text[range], ids),
            }
        }
    }

    fn encode_written(&self, written: &str, ids: &mut Vec<u32>) {
        let symbols = self.merge(written);
        let mut unknown = false;
        let mut next = (!symbols.is_empty()).then_some(0);
        while let Some(symbol) = next.map(|at| symbols[at]) {
            next = symbol.after;
            let text = &written[symbol.start..symbol.start + symbol.len];
            if let Some(piece) = self.pieces.get(text) {
                ids.push(piece.id);
                unknown = false;
                continue;
            }
            let spelt = text.bytes().map(|byte| self.bytes[usize::from(byte)]).collect::<Option<Vec<_>>>();
            match spelt {
                Some(spelt) => {
                    ids.extend(spelt);
                    unknown = false;
                }
                // One token for all that is not known, however long.
                None if unknown => {}
                None => {
                    ids.extend(self.unknown);
                    unknown = true;
                }
            }
        }
    }

    /// The symbols that are left when nothing merges any more. The first stays the
    /// first: what merges is the left part.
    fn merge(&self, text: &str) -> Vec<Symbol> {
        let mut symbols = Vec::with_capacity(text.len());
        for (start, c) in text.char_indices() {
            let at = symbols.len();
            let before = at.checked_sub(1);
            symbols.push(Symbol { start, len: c.len_utf8(), before, after: Some(at + 1) });
        }
        if let Some(last) = symbols.last_mut() {
            last.after = None;
        }
        let mut pairs = BinaryHeap::with_capacity(symbols.len());
        for left in 0..symbols.len() {
            pairs.extend(self.pair(text, &symbols, Some(left), symbols[left].after));
        }
        while let Some(Pair { left, right, len, .. }) = pairs.pop() {
            let (l, r) = (symbols[left], symbols[right]);
            if l.len == 0 || r.len == 0 || l.len + r.len != len {
                continue;
            }
            symbols[left].len = len;
            symbols[left].after = r.after;
            symbols[right].len = 0;
            if let Some(after) = r.after {
                symbols[after].before = Some(left);
            }
            pairs.extend(self.pair(text, &symbols, l.before, Some(left)));
            pairs.extend(self.pair(text, &symbols, Some(left), r.after));
        }
        symbols
    }

    fn pair(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
    ) -> Option<Pair> {
        let (left, right) = (left?, right?);
        let (start, len) = (symbols[left].start, symbols[left].len + symbols[right].len);
        let Piece { score, .. } = *self.pieces.get(&text[start..start + len])?;
        Some(Pair { score, left, right, len })
    }
}

/// A text with the vocabulary's sign for spaces.
pub(super) fn written(text: &str) -> String {
    text.chars().map(|c| if c == ' ' { SPACE } else { c }).collect()
}

/// Whether a token's text holds a space, in either writing.
pub(super) fn is_spaced(token: &AddedToken) -> bool {
    !token.control && token.text.contains([' ', SPACE])
}

/// The byte of a token that is written `<0x0A>`.
pub(super) fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}
