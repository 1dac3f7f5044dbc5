//! From rows of a file to tiles.

use super::file::Source;
use super::form::{BLOCK, Codes, Form, LINE, MOST, Scales, with_form};
use super::{Layout, PackError, TILE};

/// Packs whole rows, as the file has them, from row `first` on into their tiles.
///
/// `first` is a multiple of [`TILE`], and so is the number of rows unless they end
/// with the matrix's last. Calls for different rows are independent of each other:
/// several threads can pack one matrix.
///
/// # Errors
/// The rows are not whole tiles, or `out` does not have their size.
pub fn pack_rows(layout: &Layout, first: usize, file: &[u8], out: &mut [u8]) -> Result<(), PackError> {
    let rows = file.len() / layout.row_bytes;
    let end = first.checked_add(rows).filter(|end| *end <= layout.outputs);
    let whole = file.len().is_multiple_of(layout.row_bytes) && first.is_multiple_of(TILE);
    if !end.is_some_and(|end| whole && (end.is_multiple_of(TILE) || end == layout.outputs)) {
        return Err(PackError::Rows { first, bytes: file.len() });
    }
    // At most the layout's bytes.
    let wanted = rows.div_ceil(TILE) * layout.tile_bytes;
    if out.len() != wanted {
        return Err(PackError::Output { bytes: out.len(), wanted });
    }
    let rows = file.chunks(TILE * layout.row_bytes).zip(out.chunks_exact_mut(layout.tile_bytes));
    if let Some(source) = Source::of(layout.dtype) {
        with_form!(layout.dtype, F => rows.for_each(|(rows, tile)| quantized::<F>(layout, &source, rows, tile)), else {});
    } else {
        match layout.dtype.block_bytes() {
            2 => rows.for_each(|(rows, tile)| plain::<2>(layout, rows, tile)),
            _ => rows.for_each(|(rows, tile)| plain::<4>(layout, rows, tile)),
        }
    }
    Ok(())
}

/// Inputs that are transposed at a time: they stay in a first-level cache.
const NEAR: usize = 64;

/// One tile of up to 16 rows of elements of `N` bytes, `[inputs][16 outputs]`.
fn plain<const N: usize>(layout: &Layout, rows: &[u8], tile: &mut [u8]) {
    tile.fill(0);
    let lines = tile.as_chunks_mut::<N>().0.as_chunks_mut::<TILE>().0;
    for (lines, first) in lines.chunks_mut(NEAR).zip((0..).step_by(NEAR)) {
        for (output, row) in rows.chunks_exact(layout.row_bytes).enumerate() {
            // The last lines may be padding.
            for (line, element) in lines.iter_mut().zip(row.as_chunks::<N>().0.iter().skip(first)) {
                line[output] = *element;
            }
        }
    }
}

/// One tile of up to 16 rows, group by group.
fn quantized<F: Form>(layout: &Layout, source: &Source, rows: &[u8], tile: &mut [u8]) {
    tile.fill(0);
    let mut rest = tile;
    let file_group = F::Scales::GROUP * BLOCK / source.len * source.bytes;
    for at in (0..layout.row_bytes).step_by(file_group) {
        let bytes = file_group.min(layout.row_bytes - at);
        let blocks = bytes / source.bytes * (source.len / BLOCK);
        let (head, after) = rest.split_at_mut(F::head_bytes(blocks));
        let (codes, after) = after.split_at_mut(blocks * F::Codes::BYTES);
        rest = after;
        let parts = rows.chunks_exact(layout.row_bytes).map(|row| &row[at..at + bytes]);
        group::<F>(source, parts, head, codes);
    }
}

/// One group: the rows' codes are first written out as bytes, then gathered by quads.
fn group<'a, F: Form>(
    source: &Source,
    rows: impl Iterator<Item = &'a [u8]>,
    head: &mut [u8],
    codes: &mut [u8],
) {
    let mut elements = [[0; MOST * BLOCK]; TILE];
    for (output, (row, elements)) in rows.zip(&mut elements).enumerate() {
        let blocks = row.chunks_exact(source.bytes).zip(elements.chunks_exact_mut(source.len));
        for (i, (block, elements)) in blocks.enumerate() {
            (source.codes)(block, elements);
            (source.scales)(block, i, output, head);
        }
    }
    for (b, packed) in codes.chunks_exact_mut(F::Codes::BYTES).enumerate() {
        let mut quads = [[0; LINE]; 8];
        for (output, elements) in elements.iter().enumerate() {
            let elements = &elements[b * BLOCK..][..BLOCK];
            for (quad, four) in quads.iter_mut().zip(elements.chunks_exact(4)) {
                quad[output * 4..][..4].copy_from_slice(four);
            }
        }
        F::Codes::put(&quads, packed);
    }
}
