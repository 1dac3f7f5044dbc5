//! Some of the rows of a [`Quantized`].

use super::{Block, PANEL, Quantized, place};
use crate::pack::form::BLOCK;

/// Neighbouring quantized rows, the first of which begins a panel.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedRows<'a> {
    /// Whole panels.
    blocks: &'a [Block],
    rows: usize,
    per_row: usize,
}

impl Quantized {
    /// All rows.
    #[must_use]
    pub fn all(&self) -> QuantizedRows<'_> {
        QuantizedRows { blocks: &self.blocks, rows: self.rows, per_row: self.per_row }
    }

    /// No rows.
    #[must_use]
    pub fn none(&self) -> QuantizedRows<'_> {
        self.rows_from(0, 0)
    }

    /// `rows` rows from row `first` on.
    ///
    /// # Panics
    /// There are no such rows, or the first does not begin a panel: is no multiple of 4.
    #[must_use]
    pub fn rows_from(&self, first: usize, rows: usize) -> QuantizedRows<'_> {
        assert!(first.is_multiple_of(PANEL), "row {first} does not begin a panel");
        assert!(first.checked_add(rows).is_some_and(|end| end <= self.rows), "no such rows");
        let whole = rows.next_multiple_of(PANEL) * self.per_row;
        QuantizedRows { blocks: &self.blocks[first * self.per_row..][..whole], rows, per_row: self.per_row }
    }
}

impl<'a> QuantizedRows<'a> {
    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.per_row * BLOCK
    }

    /// Block `b` of `row`.
    pub(crate) fn block(&self, row: usize, b: usize) -> &'a Block {
        &self.blocks[place(self.per_row, row, b)]
    }

    /// The first block of each panel of rows is [`QuantizedRows::panel_blocks`] after
    /// that of the one before.
    pub(crate) fn panels(&self) -> &'a [Block] {
        self.blocks
    }

    /// Blocks of a panel.
    pub(crate) fn panel_blocks(&self) -> usize {
        self.per_row * PANEL
    }

    /// Blocks of a row.
    pub(crate) fn per_row(&self) -> usize {
        self.per_row
    }
}
