//! What steps answer with.

use crate::step::Row;

/// What the vectors of an answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A number for every token of the vocabulary: how likely it comes next, as a
    /// logit.
    Logits {
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// What the model makes of all tokens up to the last one, pooled.
    Embedding {
        /// Elements.
        width: usize,
    },
}

impl Output {
    /// Numbers a vector.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Logits { vocabulary } => vocabulary,
            Self::Embedding { width } => width,
        }
    }
}

/// The vectors that a step answers with, those of all rows next to each other.
///
/// It is kept from step to step, so that nothing is allocated once it has grown, and
/// programs write where samplers read.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    numbers: Vec<f32>,
    width: usize,
    /// Where each row's vectors end, counted in vectors.
    ends: Vec<usize>,
}

impl Answers {
    /// Makes room for the answers to a batch: `[vectors, width]`, to be written whole.
    /// Vectors are in the order of rows, and in a row in the order of tokens.
    ///
    /// What is in it at first is undefined; with debug assertions it is not a number,
    /// so that what a program leaves out shows.
    pub fn prepare(&mut self, width: usize, batch: &[Row<'_>]) -> &mut [f32] {
        let Self { numbers, width: kept, ends } = self;
        *kept = width;
        ends.clear();
        let mut vectors = 0;
        ends.extend(batch.iter().map(|row| {
            vectors += row.answers();
            vectors
        }));
        if cfg!(debug_assertions) {
            numbers.clear();
        }
        numbers.resize(vectors * width, f32::NAN);
        numbers
    }

    /// Rows that were answered.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// How many vectors a row was answered with; 0 if there is no such row.
    #[must_use]
    pub fn count(&self, row: usize) -> usize {
        self.range(row).map_or(0, |range| range.len())
    }

    /// The `nth` vector of a row.
    #[must_use]
    pub fn get(&self, row: usize, nth: usize) -> Option<&[f32]> {
        let at = self.vector(row, nth)?;
        self.numbers.get(at)
    }

    /// The `nth` vector of a row, to be worked on in place.
    #[must_use]
    pub fn get_mut(&mut self, row: usize, nth: usize) -> Option<&mut [f32]> {
        let at = self.vector(row, nth)?;
        self.numbers.get_mut(at)
    }

    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let end = *self.ends.get(row)?;
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(start..end)
    }

    fn vector(&self, row: usize, nth: usize) -> Option<std::ops::Range<usize>> {
        let range = self.range(row)?;
        let vector = range.start + nth;
        (nth < range.len()).then(|| vector * self.width..(vector + 1) * self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::Answers;
    use crate::step::{Row, Stage};

    fn row(tokens: &[u32], stage: Stage) -> Row<'_> {
        Row { tables: &[], start: 0, tokens, stage }
    }

    #[test]
    fn every_row_has_its_own_vectors() {
        let (three, last, piece) = ([1, 2, 3], Stage::Prefill { last: true }, Stage::Prefill { last: false });
        let batch = [row(&three, piece), row(&three, Stage::Decode), row(&three[..1], last)];
        let mut answers = Answers::default();
        for (at, number) in answers.prepare(2, &batch).iter_mut().enumerate() {
            *number = at as f32;
        }
        assert_eq!(answers.rows(), 3);
        assert_eq!([0, 1, 2, 3].map(|row| answers.count(row)), [0, 3, 1, 0]);
        assert_eq!(answers.get(0, 0), None);
        assert_eq!(answers.get(1, 2), Some([4.0, 5.0].as_slice()));
        assert_eq!(answers.get(1, 3), None);
        assert_eq!(answers.get_mut(2, 0), Some([6.0, 7.0].as_mut_slice()));
        assert_eq!(answers.get(3, 0), None);
        // The next batch may be smaller, and of another width.
        assert_eq!(answers.prepare(3, &batch[2..]).len(), 3);
        assert_eq!((answers.rows(), answers.count(0), answers.count(1)), (1, 1, 0));
    }
}
