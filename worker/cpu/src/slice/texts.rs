//! Texts whose tokens see ahead, and where their keys and values lie for a while.

use hearth_program::PAGE_TOKENS;

/// Texts that are read as a whole: consecutive rows of a batch.
#[derive(Debug)]
pub(crate) struct Texts {
    /// Where the rows of each end.
    pub(crate) ends: Vec<usize>,
    /// The row of the batch that is the first of them.
    first: usize,
    /// The first page of each.
    pages: Vec<usize>,
    /// Pages that are taken, of how many.
    taken: usize,
    most: usize,
}

impl Texts {
    /// None, and space for up to `rows`, in `pages` pages.
    pub(super) fn new(rows: usize, pages: usize) -> Self {
        let list = || Vec::with_capacity(rows);
        Self { ends: list(), first: 0, pages: list(), taken: 0, most: pages }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.ends.clear();
        self.pages.clear();
        self.taken = 0;
    }

    /// Takes the pages of a text of so many tokens, if there are as many.
    pub(super) fn take(&mut self, row: usize, tokens: usize) -> bool {
        let taken = self.taken + tokens.div_ceil(PAGE_TOKENS);
        if taken > self.most {
            return false;
        }
        if self.pages.is_empty() {
            self.first = row;
        }
        self.pages.push(self.taken);
        self.taken = taken;
        true
    }

    /// Page `page` of the text that is a row of the batch.
    pub(super) fn page(&self, row: usize, page: usize) -> usize {
        self.pages[row - self.first] + page
    }
}
