//! Quantized rows that several threads fill.

use super::{Block, PANEL, Quantized, QuantizedRows, place, quantize_into};
use crate::isa::Isa;
use crate::pack::form::BLOCK;
use crate::pool::{Chunks, Split};

/// Place for quantized rows that several threads fill.
#[derive(Debug)]
pub struct Panels<'a> {
    per_row: usize,
    blocks: Chunks<'a, Block>,
}

/// Place for some neighbouring quantized rows.
#[derive(Debug)]
pub struct Panel<'a> {
    per_row: usize,
    blocks: &'a mut [Block],
}

impl Quantized {
    /// Makes place for rows of `inputs` elements, a multiple of 32, to be filled by
    /// several threads, `panels` panels of four rows at a time.
    ///
    /// # Panics
    /// `inputs` is not a positive multiple of 32, or `panels` is 0.
    pub fn in_panels(&mut self, rows: usize, inputs: usize, panels: usize) -> Panels<'_> {
        assert!(inputs > 0 && inputs.is_multiple_of(BLOCK), "{inputs} inputs are not whole blocks");
        self.resize(rows, inputs);
        let blocks = &mut self.blocks[..rows.next_multiple_of(PANEL) * self.per_row];
        Panels { per_row: self.per_row, blocks: Chunks::new(blocks, panels * PANEL * self.per_row) }
    }
}

// SAFETY: parts are those of a slice.
unsafe impl<'a> Split for Panels<'a> {
    type Part = Panel<'a>;

    fn len(&self) -> usize {
        self.blocks.len()
    }

    unsafe fn part(&self, index: usize) -> Panel<'a> {
        // SAFETY: the caller's contract.
        Panel { per_row: self.per_row, blocks: unsafe { self.blocks.part(index) } }
    }
}

impl Panel<'_> {
    /// Quantizes rows into the place, from row `first` of it on.
    ///
    /// # Panics
    /// `x` is not whole rows, or more than there is place for.
    pub fn quantize(&mut self, isa: Isa, first: usize, x: &[f32]) {
        assert!(x.len().is_multiple_of(self.per_row * BLOCK), "parts of rows");
        quantize_into(isa, x, self.per_row, first, self.blocks);
    }

    /// Copies row `from` of others, which are as long, to row `to`.
    ///
    /// # Panics
    /// There are no such rows, or they are of another length.
    pub fn copy(&mut self, to: usize, others: &QuantizedRows<'_>, from: usize) {
        assert_eq!(self.per_row, others.per_row(), "rows of another length");
        for b in 0..self.per_row {
            self.blocks[place(self.per_row, to, b)] = *others.block(from, b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::quantize;

    fn whole() -> (Vec<f32>, Quantized) {
        let x: Vec<f32> = (0..11 * 64).map(|i| (i as f32 * 0.7).cos()).collect();
        let mut whole = Quantized::default();
        quantize(Isa::detect(), &x, 64, &mut whole);
        (x, whole)
    }

    #[test]
    fn panels_are_filled_as_the_whole_is() {
        let (x, whole) = whole();
        let mut parts = Quantized::default();
        let panels = parts.in_panels(11, 64, 2);
        assert_eq!(panels.len(), 2);
        for i in [1, 0] {
            let x = &x[i * 8 * 64..];
            let x = &x[..x.len().min(8 * 64)];
            // SAFETY: each once.
            let mut panel = unsafe { panels.part(i) };
            // The first row after the others.
            panel.quantize(Isa::detect(), 1, &x[64..]);
            panel.quantize(Isa::detect(), 0, &x[..64]);
        }
        for row in 0..11 {
            assert!((0..2).all(|b| parts.block(row, b) == whole.block(row, b)));
        }
    }

    #[test]
    fn copied_rows_are_found_where_they_were_put() {
        let (_, whole) = whole();
        let order = [7, 0, 10, 7, 3, 9];
        let mut copies = Quantized::default();
        let panels = copies.in_panels(order.len(), 64, 2);
        // SAFETY: the only part.
        let mut panel = unsafe { panels.part(0) };
        for (to, from) in order.into_iter().enumerate() {
            panel.copy(to, &whole.all(), from);
        }
        let later = copies.rows_from(4, 2);
        for b in 0..2 {
            for (row, from) in order.into_iter().enumerate() {
                assert_eq!(copies.block(row, b), whole.block(from, b));
            }
            assert_eq!(later.block(1, b), whole.block(9, b));
        }
    }
}
