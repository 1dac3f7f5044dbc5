//! The kernels: written once over vectors of 16 outputs, compiled for each set.

use std::ops::Range;

use hearth_model::DType;

use super::activations::{Block, PANEL, Quantized};
use super::simd::{Avx2, Avx512, Simd};
use super::{Activations, Columns, Matrix};
use crate::isa::Isa;
use crate::pack::TILE;
use crate::pack::form::{Codes, Form, Scales, with_form};

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
                if isa == Isa::Avx512Vnni {
                    avx512::$entry::<$weights>(matrix, $x, tiles, out)
                } else {
                    avx2::$entry::<$weights>(matrix, $x, tiles, out)
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
                x: &Quantized,
                tiles: Range<usize>,
                out: &mut Columns<'_>,
            ) {
                // SAFETY: the caller's contract.
                unsafe { all::<$simd, _>(&Coded::<F>::new(x), matrix, tiles, out) }
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
entries!(avx2, Avx2, "avx2,fma,f16c");

/// Activations, and how they meet a tile.
trait Meet {
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
    let rows = out.rows();
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
                        11.. if S::ROWS >= 12 => some::<S, M, 12>(x, tile, row, at, out),
                        7.. if S::ROWS >= 8 => some::<S, M, 8>(x, tile, row, at, out),
                        3.. if S::ROWS >= 4 => some::<S, M, 4>(x, tile, row, at, out),
                        2.. => some::<S, M, 2>(x, tile, row, at, out),
                        _ => some::<S, M, 1>(x, tile, row, at, out),
                    }
                };
            }
        }
    }
}

/// Up to `R` rows with one tile, whose outputs are those from `at` on; gives `R`.
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
        for (row, sums) in (row..out.rows()).zip(sums) {
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

/// Quantized activations for weights of form `F`.
struct Coded<F> {
    /// The first block of the first panel.
    x: *const Block,
    /// Blocks of a row.
    blocks: usize,
    /// Blocks of a panel.
    panel: usize,
    form: std::marker::PhantomData<F>,
}

impl<F: Form> Coded<F> {
    fn new(x: &Quantized) -> Self {
        let (blocks, panel) = (x.per_row(), x.panel_blocks());
        Self { x: x.panels().as_ptr(), blocks, panel, form: std::marker::PhantomData }
    }
}

impl<F: Form> Meet for Coded<F> {
    fn row_bytes(&self) -> usize {
        self.blocks * size_of::<Block>()
    }

    #[inline(always)]
    unsafe fn meet<S: Simd, const R: usize>(&self, tile: *const u8, row: usize) -> [S::Floats; R] {
        // SAFETY: the caller's contract: a tile has the groups of a row; panels are whole.
        unsafe {
            let mut x = self.x.add(row / PANEL * self.panel + row % PANEL);
            let panels: [usize; 3] = std::array::from_fn(|panel| panel * self.panel);
            let mut acc = [S::splat(0.0); R];
            let mut head = tile;
            let mut left = self.blocks;
            while left > 0 {
                let n = left.min(F::Scales::GROUP);
                let mut codes = head.add(F::head_bytes(n));
                for b in 0..n {
                    block::<S, F, R>(head, b, codes, x, &panels, &mut acc);
                    codes = codes.add(F::Codes::BYTES);
                    x = x.add(PANEL);
                }
                head = codes;
                left -= n;
            }
            acc
        }
    }
}

/// One block of a tile with that of `R` rows; `b` is its place in its group.
///
/// # Safety
/// That of [`Simd`]; `head` and `codes` are of a tile of form `F`, and row `r` of the
/// activations is `r % PANEL` after the start of panel `r / PANEL`, `panel` blocks apart.
#[inline(always)]
unsafe fn block<S: Simd, F: Form, const R: usize>(
    head: *const u8,
    b: usize,
    codes: *const u8,
    x: *const Block,
    panels: &[usize; 3],
    acc: &mut [S::Floats; R],
) {
    // SAFETY: the caller's contract.
    unsafe {
        let row = |r: usize| &*x.add(panels[r / PANEL]).add(r % PANEL);
        let zero = F::Codes::ZERO;
        let mut n = [S::splat_shifted(0, 0); R];
        macro_rules! quads {
            ($($j:literal)*) => {$({
                let quad = F::Codes::quad::<S, $j>(codes);
                for r in 0..R {
                    n[r] = S::dot(F::Codes::WIDE, n[r], quad, &raw const row(r).codes[$j]);
                }
            })*};
        }
        macro_rules! halves {
            ($($half:literal: $($j:literal)*;)*) => {$({
                for r in 0..R {
                    n[r] = zero.map_or(S::splat_shifted(0, 0), |zero| S::splat_shifted(row(r).half_less[$half], zero));
                }
                quads!($($j)*);
                let scales = F::Scales::scales::<S>(head, b, $half);
                let adds = F::Scales::adds::<S>(head, b, $half);
                for r in 0..R {
                    acc[r] = S::fused(S::floats(n[r]), S::multiply(scales, S::splat(row(r).scale)), acc[r]);
                    if F::Scales::ADDS {
                        acc[r] = S::fused(adds, S::splat(row(r).half_sums[$half]), acc[r]);
                    }
                }
            })*};
        }
        if F::Scales::HALVES {
            halves!(0: 0 1 2 3; 1: 4 5 6 7;);
            return;
        }
        if let Some(zero) = zero {
            for r in 0..R {
                n[r] = S::splat_shifted(row(r).less, zero);
            }
        }
        quads!(0 1 2 3 4 5 6 7);
        let scales = F::Scales::scales::<S>(head, b, 0);
        let adds = F::Scales::adds::<S>(head, b, 0);
        for r in 0..R {
            acc[r] = S::fused(S::floats(n[r]), S::multiply(scales, S::splat(row(r).scale)), acc[r]);
            if F::Scales::ADDS {
                acc[r] = S::fused(adds, S::splat(row(r).sum), acc[r]);
            }
        }
    }
}

/// A plain type of weights.
trait Plain {
    /// Bytes of a weight.
    const BYTES: usize;
    /// 16 of them.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats;
}

enum Single {}
enum Half {}
enum Brain {}

// SAFETY (the functions `load`): the caller's contract.
impl Plain for Single {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        unsafe { S::load_f32(from) }
    }
}
impl Plain for Half {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        unsafe { S::load_f16(from) }
    }
}
impl Plain for Brain {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        unsafe { S::load_bf16(from) }
    }
}

/// Plain activations for weights of type `P`.
struct Rows<P> {
    x: *const f32,
    rows: usize,
    inputs: usize,
    weights: std::marker::PhantomData<P>,
}

impl<P: Plain> Rows<P> {
    fn new(x: &[f32], inputs: usize) -> Self {
        Self { x: x.as_ptr(), rows: x.len() / inputs, inputs, weights: std::marker::PhantomData }
    }
}

impl<P: Plain> Meet for Rows<P> {
    fn row_bytes(&self) -> usize {
        self.inputs * size_of::<f32>()
    }

    #[inline(always)]
    unsafe fn meet<S: Simd, const R: usize>(&self, tile: *const u8, row: usize) -> [S::Floats; R] {
        // SAFETY: the caller's contract; rows beyond the last are read as the last.
        unsafe {
            let row = |r: usize| self.x.add((row + r).min(self.rows - 1) * self.inputs);
            let x: [*const f32; R] = std::array::from_fn(row);
            let mut acc = [S::splat(0.0); R];
            for i in 0..self.inputs {
                let weights = P::load::<S>(tile.add(i * TILE * P::BYTES));
                for r in 0..R {
                    acc[r] = S::fused(weights, S::splat(*x[r].add(i)), acc[r]);
                }
            }
            acc
        }
    }
}
