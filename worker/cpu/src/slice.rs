//! A step, cut into slices of as many rows as there is scratch for.
//!
//! Sequences are cut anywhere. Texts whose tokens see ahead are not: a slice has all of
//! one or nothing, and while it runs their keys and values lie in pages of its own.

mod texts;

use std::ops::Range;

use hearth_kernels::attend::SPLIT_TOKENS;
use hearth_kernels::pool::Picks;
use hearth_model::footprint::PACKED_ROWS;
use hearth_program::{PAGE_TOKENS, PREFILL_CHUNK, PageId, PageLayout, Row, Stage};

pub(crate) use texts::Texts;

/// Rows (tokens) of a slice of sequences at the most: a piece of a prompt and beside it last tokens
/// of other sequences. More rows would be no faster: the weights are read once for
/// so many that multiplying takes longer.
pub(crate) const SLICE_ROWS: usize = PACKED_ROWS as usize;

const _: () = assert!(SLICE_ROWS.is_multiple_of(PAGE_TOKENS) && SLICE_ROWS > PREFILL_CHUNK);
const _: () = assert!(SPLIT_TOKENS.is_multiple_of(PAGE_TOKENS));
const _: () = assert!(SPLIT_TOKENS == hearth_model::footprint::SPLIT_TOKENS as usize);

/// Some rows that are computed together. Its lists keep their memory.
#[derive(Debug)]
pub(crate) struct Slice {
    /// Rows at the most.
    most: usize,
    /// A token a row.
    pub(crate) tokens: Vec<u32>,
    /// Its position in its sequence.
    pub(crate) positions: Vec<usize>,
    /// Rows whose answers are wanted.
    pub(crate) answered: Vec<usize>,
    /// Rows of one sequence whose keys and values lie in one page.
    pub(crate) runs: Runs,
    /// Rows of one sequence that attend together.
    pub(crate) blocks: Runs,
    /// The pages that runs are written to, a list a group.
    pub(crate) pages: Vec<Picks>,
    /// Whole texts, where tokens see ahead.
    pub(crate) texts: Option<Texts>,
}

/// Neighbouring rows of one sequence each, which are all rows.
#[derive(Debug)]
pub(crate) struct Runs {
    /// The row of the batch that each belongs to.
    pub(crate) of: Vec<usize>,
    /// Where each ends.
    pub(crate) ends: Vec<usize>,
}

impl Runs {
    fn with_capacity(runs: usize) -> Self {
        Self { of: Vec::with_capacity(runs), ends: Vec::with_capacity(runs) }
    }

    fn clear(&mut self) {
        self.of.clear();
        self.ends.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The rows of a run.
    pub(crate) fn rows(&self, run: usize) -> Range<usize> {
        run.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[run]
    }

    fn push(&mut self, of: usize, end: usize) {
        self.of.push(of);
        self.ends.push(end);
    }
}

/// Two rows of a batch that write to the same page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedPage;

/// Where a batch is cut next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    row: usize,
    token: usize,
}

impl Slice {
    /// Of sequences whose pages are these.
    pub(crate) fn new(layout: &PageLayout) -> Self {
        Self::with_pages(SLICE_ROWS, layout.groups.iter().map(|group| group.pages), None)
    }

    /// Of whole texts of up to `context` tokens, as many as there are pages for.
    pub(crate) fn of_texts(context: usize, pages: usize) -> Self {
        let most = context.max(SLICE_ROWS);
        Self::with_pages(most, [pages], Some(Texts::new(most, pages)))
    }

    fn with_pages(most: usize, pages: impl IntoIterator<Item = usize>, texts: Option<Texts>) -> Self {
        Self {
            most,
            tokens: Vec::with_capacity(most),
            positions: Vec::with_capacity(most),
            answered: Vec::with_capacity(most),
            runs: Runs::with_capacity(most),
            blocks: Runs::with_capacity(most),
            pages: pages.into_iter().map(|pages| Picks::with_capacity(most, pages)).collect(),
            texts,
        }
    }

    /// Rows at the most.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Page `page` of a row of the batch, in a group's pages.
    pub(crate) fn page(&self, batch: &[Row<'_>], row: usize, group: usize, page: usize) -> PageId {
        match &self.texts {
            None => batch[row].tables[group][page],
            // As many as were allocated.
            Some(texts) => PageId(texts.page(row, page) as u32),
        }
    }

    /// Takes the next tokens of a batch whose rows were checked; `false` if there are
    /// none. Blocks have up to `block` tokens.
    pub(crate) fn fill(
        &mut self,
        batch: &[Row<'_>],
        cursor: &mut Cursor,
        block: usize,
    ) -> Result<bool, SharedPage> {
        let Self { most, tokens, positions, answered, runs, blocks, pages, texts } = self;
        for list in [&mut *positions, answered] {
            list.clear();
        }
        tokens.clear();
        runs.clear();
        blocks.clear();
        pages.iter_mut().for_each(Picks::clear);
        texts.iter_mut().for_each(Texts::clear);
        while let Some(row) = batch.get(cursor.row)
            && tokens.len() < *most
        {
            let left = &row.tokens[cursor.token..];
            let count = left.len().min(*most - tokens.len());
            if let Some(texts) = &mut *texts {
                if count < left.len() || !texts.take(cursor.row, count) {
                    break;
                }
                texts.ends.push(tokens.len() + count);
            }
            let ends = count == left.len();
            let (first, position) = (tokens.len(), row.start + cursor.token);
            tokens.extend_from_slice(&left[..count]);
            positions.extend(position..position + count);
            match row.stage {
                Stage::Prefill { last: true } if ends => answered.push(first + count - 1),
                Stage::Prefill { .. } => {}
                Stage::Decode => answered.extend(first..first + count),
            }
            let mut done = 0;
            while done < count {
                let page = (position + done) / PAGE_TOKENS;
                let fits = ((page + 1) * PAGE_TOKENS - position - done).min(count - done);
                done += fits;
                runs.push(cursor.row, first + done);
                for (group, picks) in pages.iter_mut().enumerate() {
                    let page = match &*texts {
                        Some(texts) => Some(texts.page(cursor.row, page)),
                        None => row.tables[group][page].index(),
                    };
                    if !page.is_some_and(|page| picks.pick(page)) {
                        return Err(SharedPage);
                    }
                }
            }
            for done in (0..count).step_by(block) {
                blocks.push(cursor.row, first + count.min(done + block));
            }
            *cursor = match ends {
                true => Cursor { row: cursor.row + 1, token: 0 },
                false => Cursor { token: cursor.token + count, ..*cursor },
            };
        }
        Ok(!tokens.is_empty())
    }

    /// Rows.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }
}

#[cfg(test)]
mod tests {
    use hearth_model::{KvType, Shape};
    use hearth_program::PageId;

    use super::*;

    fn layout() -> PageLayout {
        PageLayout::new([None], &Shape { context_tokens: 1024, sequences: 4, kv_type: KvType::F16 })
    }

    #[test]
    fn a_batch_is_cut_into_slices_runs_and_blocks() {
        let tables = [0u32, 32, 64].map(|first| [(first..first + 32).map(PageId).collect::<Vec<_>>()]);
        let tokens = (0..300).collect::<Vec<u32>>();
        let last = Stage::Prefill { last: true };
        let batch = [
            Row { tables: &tables[0], start: 31, tokens: &tokens[..2], stage: Stage::Decode },
            Row { tables: &tables[1], start: 0, tokens: &tokens[..200], stage: last },
            Row { tables: &tables[2], start: 5, tokens: &tokens[..3], stage: Stage::Prefill { last: false } },
        ];
        let mut slice = Slice::new(&layout());
        let mut cursor = Cursor::default();
        assert_eq!(slice.fill(&batch, &mut cursor, 100), Ok(true));
        assert_eq!(slice.len(), SLICE_ROWS);
        assert_eq!((slice.positions[1], slice.positions[2], slice.positions[191]), (32, 0, 189));
        assert_eq!(slice.answered, [0, 1]);
        assert_eq!(slice.runs.ends, [1, 2, 34, 66, 98, 130, 162, 192]);
        assert_eq!((slice.runs.of[1], slice.runs.of[2], slice.runs.rows(2)), (0, 1, 2..34));
        assert_eq!((&slice.blocks.ends[..], &slice.blocks.of[..]), (&[2, 102, 192][..], &[0, 1, 1][..]));
        assert_eq!(slice.fill(&batch, &mut cursor, 100), Ok(true));
        assert_eq!((slice.len(), slice.positions[0], slice.positions[10]), (13, 190, 5));
        assert_eq!(slice.answered, [9]);
        assert_eq!(slice.fill(&batch, &mut cursor, 100), Ok(false));
    }

    #[test]
    fn texts_are_taken_whole() {
        let tokens = (0..300).collect::<Vec<u32>>();
        let row = |len: usize| {
            let last = Stage::Prefill { last: true };
            Row { tables: &[], start: 0, tokens: &tokens[..len], stage: last }
        };
        let batch = [row(40), row(150), row(3), row(300), row(1), row(1)];
        let mut slice = Slice::of_texts(300, 11);
        let mut cursor = Cursor::default();
        assert_eq!(slice.fill(&batch, &mut cursor, 100), Ok(true));
        let ends = |slice: &Slice| slice.texts.as_ref().unwrap().ends.clone();
        assert_eq!((slice.most(), slice.len(), ends(&slice)), (300, 193, vec![40, 190, 193]));
        assert_eq!(slice.answered, [39, 189, 192]);
        assert_eq!(slice.page(&batch, 1, 0, 4), PageId(2 + 4));
        assert_eq!(slice.page(&batch, 2, 0, 0), PageId(7));
        // The next has as many tokens as there are rows.
        assert_eq!(slice.fill(&batch, &mut cursor, 100), Ok(true));
        assert_eq!((slice.page(&batch, 3, 0, 9), ends(&slice)), (PageId(9), vec![300]));
        assert_eq!(slice.fill(&batch, &mut cursor, 100), Ok(true));
        assert_eq!((slice.positions.clone(), ends(&slice)), (vec![0, 0], vec![1, 2]));
        assert_eq!(slice.fill(&batch, &mut cursor, 100), Ok(false));
    }

    #[test]
    fn rows_that_write_to_one_page_are_refused() {
        let tables = [vec![PageId(3)]];
        let row = |start| Row { tables: &tables, start, tokens: &[1], stage: Stage::Decode };
        let mut slice = Slice::new(&layout());
        let filled = slice.fill(&[row(1), row(2)], &mut Cursor::default(), 1);
        assert_eq!(filled, Err(SharedPage));
        // What was picked is forgotten.
        assert_eq!(slice.fill(&[row(1)], &mut Cursor::default(), 1), Ok(true));
    }
}
