//! Quantized activations with quantized weights.

use std::marker::PhantomData;

use super::Meet;
use crate::linear::activations::{Block, PANEL, QuantizedRows};
use crate::linear::simd::Simd;
use crate::pack::form::{Codes, Form, LINE, Scales};

/// Quantized activations for weights of form `F`.
pub(super) struct Coded<F> {
    /// The first block of the first panel.
    x: *const Block,
    /// Blocks of a row.
    blocks: usize,
    /// Blocks of a panel.
    panel: usize,
    form: PhantomData<F>,
}

impl<F: Form> Coded<F> {
    pub(super) fn new(x: &QuantizedRows<'_>) -> Self {
        let (blocks, panel) = (x.per_row(), x.panel_blocks());
        Self { x: x.panels().as_ptr(), blocks, panel, form: PhantomData }
    }
}

impl<F: Form> Meet for Coded<F> {
    const ROWS: usize = usize::MAX;

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
                    if R <= PANEL && F::Codes::AHEAD > 0 {
                        for line in 0..F::Codes::BYTES / LINE {
                            S::prefetch(codes.wrapping_add(F::Codes::AHEAD + line * LINE));
                        }
                    }
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
        let mut n = [S::start(false, 0, None); R];
        let mut part = [S::open(n[0]); R];
        macro_rules! each {
            ($r:ident => $($do:tt)*) => {{
                #[allow(clippy::needless_range_loop)]
                for $r in 0..R {
                    $($do)*
                }
            }};
        }
        macro_rules! quad {
            ($j:literal) => {{
                let quad = F::Codes::quad::<S, $j>(codes);
                each!(r => part[r] = S::dot(F::Codes::WIDE, part[r], quad, &raw const row(r).codes[$j]););
            }};
        }
        macro_rules! quads {
            ($a:literal $b:literal $c:literal $d:literal) => {{
                each!(r => part[r] = S::open(n[r]););
                quad!($a);
                quad!($b);
                if F::Codes::RUN < 4 {
                    each!(r => n[r] = S::close(F::Codes::WIDE, n[r], part[r]); part[r] = S::open(n[r]););
                }
                quad!($c);
                quad!($d);
                each!(r => n[r] = S::close(F::Codes::WIDE, n[r], part[r]););
            }};
        }
        macro_rules! scaled {
            ($half:expr, $sum:ident => $field:expr) => {{
                let scales = F::Scales::scales::<S>(head, b, $half);
                let adds = F::Scales::adds::<S>(head, b, $half);
                each! { r =>
                    let $sum = row(r);
                    let scales = S::multiply(scales, S::splat($sum.scale));
                    acc[r] = S::fused(S::floats(n[r]), scales, acc[r]);
                    if F::Scales::ADDS {
                        acc[r] = S::fused(adds, S::splat($field), acc[r]);
                    }
                }
            }};
        }
        if F::Scales::HALVES {
            each!(r => n[r] = S::start(F::Codes::WIDE, row(r).half_less[0], zero););
            quads!(0 1 2 3);
            scaled!(0, x => x.half_sums[0]);
            each!(r => n[r] = S::start(F::Codes::WIDE, row(r).half_less[1], zero););
            quads!(4 5 6 7);
            scaled!(1, x => x.half_sums[1]);
        } else {
            each!(r => n[r] = S::start(F::Codes::WIDE, row(r).less, zero););
            quads!(0 1 2 3);
            quads!(4 5 6 7);
            scaled!(0, x => x.sum);
        }
    }
}
