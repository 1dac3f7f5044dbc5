//! The kernels: written once over vectors of 16 outputs, compiled for each set.

mod coded;
mod plain;

use std::ops::Range;

use hearth_model::DType;

use coded::Coded;
use plain::{Brain, Half, Plain, Rows, Single};

use super::QuantizedRows;
use super::simd::{Avx512, Simd, Ymm, dots};
use super::{Activations, Columns, Matrix};
use crate::isa::Isa;
use crate::pack::TILE;
use crate::pack::form::{Form, with_form};

/// Bytes of activations that meet all tiles before the next ones do: they stay in a
/// second-level cache, beside a tile.
const NEAR_BYTES: usize = 512 << 10;

/// # Safety
/// The CPU has the instructions of `isa`, which is not portable. There are such tiles;
/// the activations are of the weights' kind and as long as their rows; `out` has the
/// activations' rows, at least one, and the tiles' outputs.
pub(super) unsafe fn multiply(
    isa: Isa,
    matrix: &Matrix<'_>,
    activations: Activations<'_>,
    tiles: Range<usize>,
    out: &mut Columns<'_>,
) {
    macro_rules! on {
        ($entry:ident, $weights:ty, $x:expr) => {
            // SAFETY: the caller's contract.
            unsafe {
                match isa {
                    #[cfg(test)]
                    Isa::Avx512Vnni if EVEX.get() => evex::$entry::<$weights>(matrix, $x, tiles, out),
                    Isa::Avx512Vnni => avx512::$entry::<$weights>(matrix, $x, tiles, out),
                    Isa::AvxVnni => avx_vnni::$entry::<$weights>(matrix, $x, tiles, out),
                    Isa::Avx2 | Isa::Portable => avx2::$entry::<$weights>(matrix, $x, tiles, out),
                }
            }
        };
    }
    let dtype = matrix.layout.dtype();
    match activations {
        Activations::Quantized(x) => {
            with_form!(dtype, F => on!(quantized, F, x), else unreachable!("a quantized type has a form"));
        }
        Activations::Plain(x) => match dtype {
            DType::F16 => on!(plain, Half, x),
            DType::BF16 => on!(plain, Brain, x),
            _ => on!(plain, Single, x),
        },
    }
}

/// The entries of a set: what is inlined into them is compiled for it.
macro_rules! entries {
    ($name:ident, $simd:ty, $features:literal) => {
        mod $name {
            use super::*;

            /// # Safety
            /// That of [`super::multiply`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn quantized<F: Form>(
                matrix: &Matrix<'_>,
                x: QuantizedRows<'_>,
                tiles: Range<usize>,
                out: &mut Columns<'_>,
            ) {
                // SAFETY: the caller's contract.
                unsafe { all::<$simd, _>(&Coded::<F>::new(&x), matrix, tiles, out) }
            }

            /// # Safety
            /// That of [`super::multiply`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn plain<P: Plain>(
                matrix: &Matrix<'_>,
                x: &[f32],
                tiles: Range<usize>,
                out: &mut Columns<'_>,
            ) {
                // SAFETY: the caller's contract.
                unsafe { all::<$simd, _>(&Rows::<P>::new(x, matrix.layout.inputs()), matrix, tiles, out) }
            }
        }
    };
}

entries!(avx512, Avx512, "avx512f,avx512bw,avx512vl,avx512vnni");
entries!(avx_vnni, Ymm<dots::Vex>, "avx2,fma,f16c,avxvnni");
entries!(avx2, Ymm<dots::Pairs>, "avx2,fma,f16c");
#[cfg(test)]
entries!(evex, Ymm<dots::Evex>, "avx2,fma,f16c,avx512vl,avx512vnni");

#[cfg(test)]
thread_local! {
    /// [`Isa::Avx512Vnni`] means the kernels of [`Isa::AvxVnni`], with the instruction in
    /// its other encoding: few machines have both.
    pub(super) static EVEX: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Activations, and how they meet a tile.
trait Meet {
    /// The most rows that are computed together.
    const ROWS: usize;

    /// Bytes of a row.
    fn row_bytes(&self) -> usize;

    /// The sums of `R` rows from `row` on with a tile's 16 outputs.
    ///
    /// # Safety
    /// That of [`Simd`]. The tile is one of a matrix that the activations fit; `row` is
    /// one of theirs and the first of a panel, or lies in one with the others.
    unsafe fn meet<S: Simd, const R: usize>(&self, tile: *const u8, row: usize) -> [S::Floats; R];
}

/// All rows with all tiles.
///
/// # Safety
/// That of [`multiply`], for the set `S`.
#[inline(always)]
unsafe fn all<S: Simd, M: Meet>(x: &M, matrix: &Matrix<'_>, tiles: Range<usize>, out: &mut Columns<'_>) {
    let (rows, most) = (out.rows(), S::ROWS.min(M::ROWS));
    let near = (NEAR_BYTES / x.row_bytes()).next_multiple_of(12);
    for first in (0..rows).step_by(near) {
        let last = rows.min(first + near);
        for tile in tiles.clone() {
            let at = (tile - tiles.start) * TILE;
            let tile = matrix.tile(tile).as_ptr();
            let mut row = first;
            // Steps start at a panel, or (of two rows and one) end in theirs.
            while row < last {
                // SAFETY: the caller's contract.
                row += unsafe {
                    match last - row {
                        12.. if most >= 12 => some::<S, M, 12>(x, tile, row, at, out),
                        8.. if most >= 8 => some::<S, M, 8>(x, tile, row, at, out),
                        4.. if most >= 4 => some::<S, M, 4>(x, tile, row, at, out),
                        3.. if most >= 3 => some::<S, M, 3>(x, tile, row, at, out),
                        2.. => some::<S, M, 2>(x, tile, row, at, out),
                        _ => some::<S, M, 1>(x, tile, row, at, out),
                    }
                };
            }
        }
    }
}

/// `R` rows with one tile, whose outputs are those from `at` on; gives `R`.
///
/// # Safety
/// That of [`Meet::meet`].
#[inline(always)]
unsafe fn some<S: Simd, M: Meet, const R: usize>(
    x: &M,
    tile: *const u8,
    row: usize,
    at: usize,
    out: &mut Columns<'_>,
) -> usize {
    let width = TILE.min(out.width() - at);
    // SAFETY: the caller's contract; a vector is stored to as many floats.
    unsafe {
        let sums = x.meet::<S, R>(tile, row);
        for (row, sums) in (row..).zip(sums) {
            let to = out.part(row, at, width);
            if let Ok(to) = <&mut [f32; TILE]>::try_from(&mut *to) {
                S::store(to.as_mut_ptr(), sums);
            } else {
                let mut whole = [0.0; TILE];
                S::store(whole.as_mut_ptr(), sums);
                to.copy_from_slice(&whole[..width]);
            }
        }
    }
    R
}
