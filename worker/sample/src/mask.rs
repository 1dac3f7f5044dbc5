//! Sets of tokens.

/// Tokens that may come next: a bit for each id of a vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u32>,
}

impl TokenMask {
    /// A mask of words of 32 ids each; the lowest bit of the first is id 0. Ids
    /// behind the last word are not in it.
    #[must_use]
    pub fn from_words(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// Takes other words over, in the memory that is there.
    pub(crate) fn copy_from(&mut self, words: &[u32]) {
        self.words.clear();
        self.words.extend_from_slice(words);
    }

    /// Whether an id is in it.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        let word = self.words.get(id as usize / 32).copied().unwrap_or(0);
        word >> (id % 32) & 1 == 1
    }

    /// How many ids are in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Makes every token that is not in it impossible.
    pub fn apply(&self, logits: &mut [f32]) {
        let mut words = self.words.iter();
        for chunk in logits.chunks_mut(32) {
            match words.next().copied().unwrap_or(0) {
                u32::MAX => {}
                0 => chunk.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in chunk.iter_mut().enumerate() {
                        *logit = if word >> bit & 1 == 1 { *logit } else { f32::NEG_INFINITY };
                    }
                }
            }
        }
    }
}

impl FromIterator<u32> for TokenMask {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut words = Vec::new();
        for id in ids {
            let at = id as usize / 32;
            if words.len() <= at {
                words.resize(at + 1, 0);
            }
            words[at] |= 1 << (id % 32);
        }
        Self { words }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::TokenMask;

    proptest! {
        #[test]
        fn what_is_not_in_it_cannot_come(
            ids in prop::collection::btree_set(0u32..300, 0..300),
            vocabulary in 0usize..300,
        ) {
            let mask = ids.iter().copied().collect::<TokenMask>();
            prop_assert_eq!(mask.count(), ids.len());
            let mut logits = vec![1.0f32; vocabulary];
            mask.apply(&mut logits);
            for (id, logit) in (0u32..).zip(logits) {
                prop_assert_eq!(mask.contains(id), ids.contains(&id));
                prop_assert_eq!(logit, if ids.contains(&id) { 1.0 } else { f32::NEG_INFINITY });
            }
        }
    }
}
