//! Linear layers: rows of activations times a packed matrix.
//!
//! # The result
//! Quantized weights meet quantized activations ([`Quantized`]). For a row and an
//! output, block by block in the order of the inputs (half block by half block,
//! where the weights have a scale for each half):
//!
//! ```text
//! n   = Σ (code of the weight − its zero) × (code of the activation)    exact, i32
//! acc = fused(n as f32, weight scale × activation scale, acc)
//! acc = fused(weight addend, activation scale × Σ activation codes, acc)   if the type has one
//! ```
//!
//! Plain weights meet `f32` activations: `acc = fused(weight, activation, acc)`, input
//! by input, with an `acc` for even inputs and one for odd ones, added at the end.
//! Each `fused` is one rounding.
//!
//! This order does not depend on how many rows are computed together, on the range of
//! tiles or on the instruction set, so a row's result is the same bits alone, in a
//! batch and in a prompt. [`portable`](Isa::Portable) code, written from the lines
//! above, is what the others are tested against.
//!
//! # Speed
//! Decoding is bound by reading weights: a tile is read front to back, once. A prompt
//! is bound by multiplying: for each block and row eight multiply-adds of bytes,
//! a conversion, a multiplication and one or two fused multiply-adds of floats, of
//! which all but the conversion compete for the same two pipes. That bounds the share
//! of the eight at 80 % (73 % with an addend; two thirds and 57 % for types with two
//! scales a block); kernels for AVX-512 come within a tenth of it. Unpacking is shared
//! by up to twelve rows, whose sums stay in registers. The example `linear` of this
//! crate measures both, next to what the machine can do.
//!
//! Where there is no set that kernels are written for, and on ARM, the portable code
//! runs: right, and far from fast.

mod activations;
mod columns;
mod cuts;
mod gather;
mod groups;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod portable;
pub(crate) mod simd;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::isa::Isa;
use crate::pack::{Layout, TILE};

pub use activations::{Panel, Panels, Quantized, QuantizedRows, quantize};
pub use columns::{Columns, OutView};
pub use cuts::{Cut, Cuts, MATRICES, Target, TileColumns};
pub use gather::gather_row;
pub use groups::{Group, GroupColumns, Groups};

/// A packed matrix.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    layout: Layout,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// A view of packed bytes. They should start at a multiple of 64, or reads cross
    /// cache lines.
    ///
    /// # Panics
    /// `bytes` does not have the layout's size.
    #[must_use]
    pub fn new(layout: Layout, bytes: &'a [u8]) -> Self {
        assert_eq!(bytes.len(), layout.bytes(), "the bytes of another matrix");
        Self { layout, bytes }
    }

    /// The outline.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn tile(&self, tile: usize) -> &'a [u8] {
        &self.bytes[tile * self.layout.tile_bytes()..][..self.layout.tile_bytes()]
    }

    /// Outputs of tiles `range`.
    fn outputs(&self, range: &Range<usize>) -> Range<usize> {
        range.start * TILE..(range.end * TILE).min(self.layout.outputs())
    }
}

/// Rows of activations.
#[derive(Clone, Copy, Debug)]
pub enum Activations<'a> {
    /// For quantized weights.
    Quantized(QuantizedRows<'a>),
    /// For plain weights: whole rows, one after another.
    Plain(&'a [f32]),
}

impl<'a> From<&'a Quantized> for Activations<'a> {
    fn from(rows: &'a Quantized) -> Self {
        Self::Quantized(rows.all())
    }
}

impl<'a> From<&'a [f32]> for Activations<'a> {
    fn from(rows: &'a [f32]) -> Self {
        Self::Plain(rows)
    }
}

/// Computes the outputs of tiles `tiles` for all rows: column `i` of `out` becomes
/// output `16 * tiles.start + i`.
///
/// # Panics
/// There are no such tiles; the activations are not of the kind or the length that
/// the weights need; or `out` has other rows or columns than the result.
pub fn multiply(
    isa: Isa,
    matrix: &Matrix<'_>,
    activations: Activations<'_>,
    tiles: Range<usize>,
    out: &mut Columns<'_>,
) {
    let layout = &matrix.layout;
    assert!(tiles.start <= tiles.end && tiles.end <= layout.tiles(), "no tiles {tiles:?}");
    let (rows, inputs) = match activations {
        Activations::Quantized(x) => (x.rows(), x.inputs()),
        Activations::Plain(x) => (x.len() / layout.inputs(), layout.inputs()),
    };
    match activations {
        Activations::Quantized(_) => assert!(layout.is_quantized(), "plain weights take plain activations"),
        Activations::Plain(x) => {
            assert!(!layout.is_quantized(), "quantized weights take quantized activations");
            assert_eq!(x.len(), rows * inputs, "the activations are not whole rows");
        }
    }
    assert!(rows == 0 || inputs == layout.inputs(), "rows of {inputs} for a matrix of {}", layout.inputs());
    assert_eq!(out.width(), matrix.outputs(&tiles).len(), "the output has other columns");
    assert_eq!(out.rows(), rows, "the output has other rows");
    if rows == 0 {
        return;
    }
    match isa {
        Isa::Portable => portable::multiply(matrix, activations, tiles, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a value of `Isa` is proof that this CPU has the instructions; what
        // was asserted above is what the kernels rely on.
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => unsafe {
            kernel::multiply(isa, matrix, activations, tiles, out);
        },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => portable::multiply(matrix, activations, tiles, out),
    }
}
