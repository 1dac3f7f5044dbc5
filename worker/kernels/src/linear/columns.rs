//! Where results go: columns of a matrix that several threads fill.

use std::marker::PhantomData;
use std::ops::Range;

/// A row-major matrix of `f32` whose columns are handed out to several threads.
#[derive(Clone, Copy, Debug)]
pub struct OutView<'a> {
    start: *mut f32,
    rows: usize,
    stride: usize,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: the view stands for a `&mut [f32]`, which may be sent; sharing it gives
// access only through `columns`, whose caller sees to it that parts are disjoint.
unsafe impl Send for OutView<'_> {}
// SAFETY: as above.
unsafe impl Sync for OutView<'_> {}

impl<'a> OutView<'a> {
    /// A view of `rows` rows of `stride` elements.
    ///
    /// # Panics
    /// `out` is shorter.
    #[must_use]
    pub fn new(out: &'a mut [f32], rows: usize, stride: usize) -> Self {
        assert!(rows.checked_mul(stride).is_some_and(|n| n <= out.len()), "the output is too short");
        Self { start: out.as_mut_ptr(), rows, stride, memory: PhantomData }
    }

    /// Elements of a row.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Only `rows` rows from row `first` on.
    ///
    /// # Panics
    /// There are no such rows.
    pub(super) fn only(self, first: usize, rows: usize) -> Self {
        assert!(first.checked_add(rows).is_some_and(|end| end <= self.rows), "no such rows");
        // SAFETY: within the matrix, or at its end.
        let start = unsafe { self.start.add(first * self.stride) };
        Self { start, rows, ..self }
    }

    /// Columns `range` of all rows.
    ///
    /// # Panics
    /// The matrix has no such columns.
    ///
    /// # Safety
    /// No two parts of a view that live at the same time have a column in common.
    #[must_use]
    pub unsafe fn columns(self, range: Range<usize>) -> Columns<'a> {
        assert!(range.start <= range.end && range.end <= self.stride, "no columns {range:?}");
        // SAFETY: within the first row, or at its end.
        let start = unsafe { self.start.add(range.start) };
        Columns { view: Self { start, ..self }, width: range.len() }
    }
}

/// Neighbouring columns of a row-major matrix, held by one thread.
#[derive(Debug)]
pub struct Columns<'a> {
    /// Its start is the first row's first element of these columns.
    view: OutView<'a>,
    width: usize,
}

impl<'a> Columns<'a> {
    /// All of a matrix of `rows` rows of `width` elements.
    ///
    /// # Panics
    /// `out` is shorter.
    #[must_use]
    pub fn whole(out: &'a mut [f32], rows: usize, width: usize) -> Self {
        let view = OutView::new(out, rows, width);
        // SAFETY: the view lives in this part alone.
        unsafe { view.columns(0..width) }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.view.rows
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Elements `at..at + len` of `row`.
    ///
    /// # Panics
    /// The columns have no such elements.
    pub fn part(&mut self, row: usize, at: usize, len: usize) -> &mut [f32] {
        let end = at.checked_add(len);
        assert!(row < self.view.rows && end.is_some_and(|end| end <= self.width), "no such elements");
        // SAFETY: the row is one of the matrix's, which lies in the memory that the
        // view was made of, and the elements are in columns that only `self` has.
        unsafe { std::slice::from_raw_parts_mut(self.view.start.add(row * self.view.stride + at), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_elements_meant() {
        let mut out: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let view = OutView::new(&mut out, 3, 4);
        // SAFETY: disjoint.
        let (mut left, mut right) = unsafe { (view.columns(0..1), view.columns(1..4)) };
        assert_eq!(left.part(2, 0, 1), [8.0]);
        assert_eq!(right.part(1, 1, 2), [6.0, 7.0]);
    }

    #[test]
    #[should_panic(expected = "no such elements")]
    fn parts_end_with_the_columns() {
        let mut out = [0.0; 12];
        Columns::whole(&mut out, 3, 4).part(1, 2, 3);
    }

    #[test]
    #[should_panic(expected = "no columns")]
    fn columns_end_with_the_matrix() {
        let mut out = [0.0; 12];
        // SAFETY: the only part.
        let _ = unsafe { OutView::new(&mut out, 3, 4).columns(2..5) };
    }
}
