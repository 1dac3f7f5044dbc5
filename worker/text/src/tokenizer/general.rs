//! The steps of a `tokenizer.json` as it lists them: normalize, split, look up.
//!
//! Slower than the other ways, because every step keeps track of where each byte
//! came from; for what they do not know.

use tokenizers::tokenizer::normalizer::Range;
use tokenizers::{
    Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Token,
};

use super::added::{Added, Control, Cut};

#[derive(Debug)]
pub(super) struct General {
    pub(super) normalizer: Option<NormalizerWrapper>,
    /// Tokens that are matched in normalized text.
    pub(super) normalized: Added,
    pub(super) pre: Option<PreTokenizerWrapper>,
    pub(super) model: ModelWrapper,
}

impl General {
    /// The tokens of a text that was cut at its added tokens. Steps may ask which
    /// part is the first, so they get all of them.
    pub(super) fn encode(
        &self,
        text: &str,
        cuts: &[Cut],
        control: Control<'_>,
        ids: &mut Vec<u32>,
    ) -> tokenizers::Result<()> {
        let control = control.of_changed_text();
        let mut string = PreTokenizedString::from(text);
        string.split(|_, whole| Ok(parts(&whole, cuts)))?;
        string.split(|_, mut part| {
            if let Some(normalizer) = &self.normalizer {
                normalizer.normalize(&mut part)?;
            }
            let cuts = self.normalized.cut(part.get(), control);
            Ok(parts(&part, &cuts))
        })?;
        if let Some(pre) = &self.pre {
            pre.pre_tokenize(&mut string)?;
        }
        string.tokenize(|piece| self.model.tokenize(piece.get()))?;
        let splits = string.get_splits(OffsetReferential::Original, OffsetType::Byte);
        ids.extend(
            splits.iter().filter_map(|(_, _, tokens)| tokens.as_ref()).flatten().map(|token| token.id),
        );
        Ok(())
    }
}

fn parts(whole: &NormalizedString, cuts: &[Cut]) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
    let part = |cut: &Cut| {
        let (range, id) = match cut {
            Cut::Text(range) => (range, None),
            Cut::Token(id, range) => (range, Some(*id)),
        };
        let slice = whole.slice(Range::Normalized(range.clone()))?;
        Some((slice, id.map(|id| vec![Token::new(id, String::new(), (0, range.len()))])))
    };
    cuts.iter().filter_map(part).collect()
}
