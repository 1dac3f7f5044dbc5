//! A matrix in blocks of rows and columns.

use std::marker::PhantomData;

use super::Split;

/// A row-major matrix that is cut into runs of rows, and these into runs of columns:
/// part `i` has columns `i % n` of rows `i / n`, where `n` is the number of runs of
/// columns.
#[derive(Debug)]
pub struct Blocks<'a> {
    start: *mut f32,
    stride: usize,
    /// Where each run of rows ends, rising.
    ends: &'a [usize],
    columns: usize,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a `&mut [f32]` of which threads get disjoint blocks.
unsafe impl Send for Blocks<'_> {}
// SAFETY: as above: blocks are handed out by `unsafe` calls.
unsafe impl Sync for Blocks<'_> {}

/// Some columns of some neighbouring rows.
#[derive(Debug)]
pub struct Block<'a> {
    start: *mut f32,
    stride: usize,
    rows: usize,
    columns: usize,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for exclusive slices of numbers.
unsafe impl Send for Block<'_> {}

impl<'a> Blocks<'a> {
    /// Cuts a matrix of rows of `stride` numbers after the rows `ends`, and rows into
    /// runs of `columns`.
    ///
    /// # Panics
    /// `ends` does not rise, the matrix has fewer rows than its last, or `columns` does
    /// not divide `stride`.
    #[must_use]
    pub fn new(numbers: &'a mut [f32], stride: usize, ends: &'a [usize], columns: usize) -> Self {
        assert!(columns > 0 && stride.is_multiple_of(columns), "runs of {columns} of {stride} columns");
        assert!(ends.is_sorted_by(|a, b| a < b) && ends.first() != Some(&0), "empty runs of rows");
        let rows = ends.last().copied().unwrap_or(0);
        assert!(rows.checked_mul(stride).is_some_and(|len| len <= numbers.len()), "no such rows");
        Self { start: numbers.as_mut_ptr(), stride, ends, columns, memory: PhantomData }
    }
}

// SAFETY: runs of rows are disjoint as their ends rise, and runs of columns as they are
// neighbours of the same length; a block's rows are slices of its own columns.
unsafe impl<'a> Split for Blocks<'a> {
    type Part = Block<'a>;

    fn len(&self) -> usize {
        self.ends.len() * (self.stride / self.columns)
    }

    unsafe fn part(&self, index: usize) -> Block<'a> {
        let runs = self.stride / self.columns;
        let (run, column) = (index / runs, index % runs * self.columns);
        let end = self.ends[run];
        let first = run.checked_sub(1).map_or(0, |before| self.ends[before]);
        // SAFETY: within the matrix, as `first` is less than its last row.
        let start = unsafe { self.start.add(first * self.stride + column) };
        Block { start, stride: self.stride, rows: end - first, columns: self.columns, memory: PhantomData }
    }
}

impl<'a> Block<'a> {
    /// All of a matrix of rows of `columns` numbers.
    ///
    /// # Panics
    /// The numbers are not whole rows.
    #[must_use]
    pub fn whole(numbers: &'a mut [f32], columns: usize) -> Self {
        assert!(columns > 0 && numbers.len().is_multiple_of(columns), "parts of rows");
        let rows = numbers.len() / columns;
        Self { start: numbers.as_mut_ptr(), stride: columns, rows, columns, memory: PhantomData }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A row.
    ///
    /// # Panics
    /// There is no such row.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "no row {row} of {}", self.rows);
        // SAFETY: within the block, which only `self` has.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.columns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_matrix_once() {
        let mut numbers = vec![0.0; 7 * 6 + 1];
        let ends = [1, 4, 7];
        let blocks = Blocks::new(&mut numbers, 6, &ends, 3);
        assert_eq!(blocks.len(), 6);
        for i in 0..blocks.len() {
            // SAFETY: each once.
            let mut block = unsafe { blocks.part(i) };
            assert_eq!((block.rows(), block.columns()), ([1, 3, 3][i / 2], 3));
            for row in 0..block.rows() {
                for number in block.row(row) {
                    *number += i as f32 + 1.0;
                }
            }
        }
        assert_eq!(numbers[42], 0.0);
        for (at, number) in numbers[..42].iter().enumerate() {
            let run = ends.iter().filter(|end| at / 6 >= **end).count();
            assert_eq!(*number as usize, run * 2 + at % 6 / 3 + 1);
        }
    }

    #[test]
    #[should_panic(expected = "empty runs")]
    fn ends_rise() {
        let _ = Blocks::new(&mut [0.0; 12], 2, &[2, 2], 1);
    }

    #[test]
    #[should_panic(expected = "no such rows")]
    fn rows_are_there() {
        let _ = Blocks::new(&mut [0.0; 12], 2, &[2, 7], 1);
    }
}
