//! Rows of a packed matrix, as numbers.

use super::{Matrix, portable};
use crate::pack::TILE;
use crate::pack::form::with_form;

/// Writes row `row` of the matrix: what the file's bytes stand for, to the bit.
///
/// For embeddings, which many models share with their head: one copy serves both.
///
/// # Panics
/// There is no such row, or `out` does not have its length.
pub fn gather_row(matrix: &Matrix<'_>, row: usize, out: &mut [f32]) {
    let layout = &matrix.layout;
    assert!(row < layout.outputs(), "no row {row} of {}", layout.outputs());
    assert_eq!(out.len(), layout.inputs(), "the output has another length than a row");
    let (tile, output) = (matrix.tile(row / TILE), row % TILE);
    let dtype = layout.dtype();
    with_form!(dtype, F => portable::weights::<F>(tile, output, out), else {
        for (input, out) in out.iter_mut().enumerate() {
            *out = portable::weight(dtype, tile, input, output);
        }
    });
}
