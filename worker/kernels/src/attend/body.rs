//! One split, for the rows of a task.

// An index stays in the function that has the target features; an iterator's `next` is
// a function of its own, which has not, and vectors may go through memory on its way.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::{PAGE_TOKENS, SPLIT_PAGES, SPLIT_TOKENS, Task, Work};
use crate::elementwise::capped;
use crate::kv::{Kind, widen_keys, widen_values};
use crate::lanes::{LANES, Lanes, exp};

/// Scaled queries, `[key_dim][rows]`, where the rows of a token are the group's heads.
///
/// # Safety
/// The task was checked, and `out` fits it.
#[inline(always)]
pub(super) unsafe fn scale_body<L: Lanes>(task: &Task<'_>, out: &mut [f32]) {
    let (dim, group, queries) = (task.form.key_dim(), task.look.group, &task.queries);
    let rows = task.rows();
    for token in 0..queries.tokens {
        let heads = &queries.numbers[token * queries.stride..][..group * dim];
        for (head, x) in heads.chunks_exact(dim).enumerate() {
            let row = token * group + head;
            for (to, x) in out[..dim * rows].chunks_exact_mut(rows).zip(x) {
                to[row] = task.look.scale * x;
            }
        }
    }
}

/// # Safety
/// That of [`Lanes`]; the task was checked, `work` fits it and holds its queries, `out`
/// has its state's length, and some token sees the split.
#[inline(always)]
pub(super) unsafe fn split_body<L: Lanes>(task: &Task<'_>, split: usize, work: &mut Work, out: &mut [f32]) {
    let Task { form, look, page, kv_head, queries } = task;
    let rows = task.rows();
    let first = split * SPLIT_TOKENS;
    // The positions of the split that any row sees, and their pages.
    let seen = task.seen();
    let seen = seen.start.max(first)..seen.end.min(first + SPLIT_TOKENS);
    let pages = seen.start / PAGE_TOKENS..seen.end.div_ceil(PAGE_TOKENS);
    debug_assert!(!seen.is_empty() && pages.len() <= SPLIT_PAGES);
    let Work { queries: scaled, scores, page: wide } = work;
    let scores = &mut scores[..rows * SPLIT_TOKENS];
    let (o, ml) = out.split_at_mut(rows * form.padded_value_dim());
    let (m, l) = ml.split_at_mut(rows);
    // Rows that do not fit in registers together would each widen a page again.
    let widen = form.kind() == Kind::Q8_0 || rows > 2 * L::ROWS;

    for number in pages.clone() {
        let (keys, _) = form.head(page(number), *kv_head);
        let at = number * PAGE_TOKENS - first;
        // SAFETY: the caller's contract: `head` gives parts of the form's sizes, `wide`
        // and `scaled` fit the task, and a page is within the split's scores.
        unsafe {
            let (q, to) = (scaled.as_ptr(), scores.as_mut_ptr().add(at));
            if widen {
                widen_keys::<L>(form, keys, wide);
                score_rows::<L, f32>(wide.as_ptr(), form.key_dim(), q, rows, to);
            } else if form.kind() == Kind::F16 {
                score_rows::<L, u16>(keys.as_ptr().cast(), form.key_dim(), q, rows, to);
            } else {
                score_rows::<L, f32>(keys.as_ptr().cast(), form.key_dim(), q, rows, to);
            }
        }
    }

    let columns = pages.start * PAGE_TOKENS - first..pages.end * PAGE_TOKENS - first;
    for row in 0..rows {
        let position = queries.position + row / look.group;
        let own = look.seen(position, queries.length);
        let own = own.start.max(seen.start)..own.end.min(seen.end);
        let scores = &mut scores[row * SPLIT_TOKENS..][columns.clone()];
        let from = first + columns.start;
        // SAFETY: the caller's contract; pages are whole vectors.
        (m[row], l[row]) = if own.is_empty() {
            scores.fill(0.0);
            (f32::NEG_INFINITY, 0.0)
        } else {
            unsafe { softmax::<L>(scores, own.start - from..own.end - from, look.soft_cap) }
        };
    }

    o.fill(0.0);
    for number in pages {
        let (_, values) = form.head(page(number), *kv_head);
        let start = number * PAGE_TOKENS;
        let tokens = seen.start.max(start) - start..seen.end.min(start + PAGE_TOKENS) - start;
        // SAFETY: as for keys; `o` has a padded value a row.
        unsafe {
            let p = scores.as_ptr().add(start - first);
            let (stride, padded) = (form.value_stride(), form.padded_value_dim());
            if widen {
                widen_values::<L>(form, values, wide);
                value_rows::<L, f32>(wide.as_ptr(), padded, padded, &tokens, p, rows, o.as_mut_ptr());
            } else if form.kind() == Kind::F16 {
                let values = values.as_ptr().cast::<u16>();
                value_rows::<L, u16>(values, stride, padded, &tokens, p, rows, o.as_mut_ptr());
            } else {
                let values = values.as_ptr().cast::<f32>();
                value_rows::<L, f32>(values, stride, padded, &tokens, p, rows, o.as_mut_ptr());
            }
        }
    }
}

/// Makes scores exponentials, those outside `own` 0, and gives the greatest score and
/// the sum.
///
/// # Safety
/// That of [`Lanes`]; scores are whole vectors, and `own` is not empty.
#[inline(always)]
unsafe fn softmax<L: Lanes>(scores: &mut [f32], own: Range<usize>, soft_cap: Option<f32>) -> (f32, f32) {
    // SAFETY: the caller's contract: vectors are within the scores.
    unsafe {
        if let Some(cap) = soft_cap {
            for x in scores.chunks_exact_mut(LANES) {
                capped(L::load(x.as_ptr()), cap).store(x.as_mut_ptr());
            }
        }
        // What is there is of nobody, or not even a number.
        scores[..own.start].fill(f32::NEG_INFINITY);
        scores[own.end..].fill(f32::NEG_INFINITY);
        let mut most = L::splat(f32::NEG_INFINITY);
        for x in scores.chunks_exact(LANES) {
            most = L::load(x.as_ptr()).max(most);
        }
        let most = most.greatest();
        let mut sum = L::splat(0.0);
        for x in scores.chunks_exact_mut(LANES) {
            let p = exp(L::load(x.as_ptr()).sub(L::splat(most)));
            sum = sum.add(p);
            p.store(x.as_mut_ptr());
        }
        (most, sum.sum())
    }
}

/// What pages or widened pages are made of.
trait Element: Copy {
    /// # Safety
    /// That of [`Lanes`]: 16 elements.
    unsafe fn load<L: Lanes>(from: *const Self) -> L;
}

// SAFETY (the functions `load`): the caller's contract.
impl Element for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        unsafe { L::load(from) }
    }
}
impl Element for u16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        unsafe { L::load_f16(from) }
    }
}

/// Scores of all rows with a page's keys, `[dim][32]`. Row `r`'s go to `out` plus
/// `r * SPLIT_TOKENS`.
///
/// # Safety
/// That of [`Lanes`]; `queries` are `[dim][rows]`.
#[inline(always)]
unsafe fn score_rows<L: Lanes, E: Element>(
    keys: *const E,
    dim: usize,
    queries: *const f32,
    rows: usize,
    out: *mut f32,
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's contract, for the rows from `row` on.
        unsafe {
            let (q, out) = (queries.add(row), out.add(row * SPLIT_TOKENS));
            row += match rows - row {
                12.. if L::ROWS >= 12 => score::<L, E, 12>(keys, dim, q, rows, out),
                8.. if L::ROWS >= 8 => score::<L, E, 8>(keys, dim, q, rows, out),
                6.. if L::ROWS >= 6 => score::<L, E, 6>(keys, dim, q, rows, out),
                4.. if L::ROWS >= 4 => score::<L, E, 4>(keys, dim, q, rows, out),
                3.. if L::ROWS >= 3 => score::<L, E, 3>(keys, dim, q, rows, out),
                2.. => score::<L, E, 2>(keys, dim, q, rows, out),
                _ => score::<L, E, 1>(keys, dim, q, rows, out),
            };
        }
    }
}

/// `R` rows of [`score_rows`]; gives `R`.
///
/// # Safety
/// That of [`score_rows`].
#[inline(always)]
unsafe fn score<L: Lanes, E: Element, const R: usize>(
    keys: *const E,
    dim: usize,
    queries: *const f32,
    rows: usize,
    out: *mut f32,
) -> usize {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[L::splat(0.0); 2]; R];
        for d in 0..dim {
            let keys = keys.add(d * PAGE_TOKENS);
            let keys = [E::load::<L>(keys), E::load::<L>(keys.add(LANES))];
            for r in 0..R {
                let q = L::splat(*queries.add(d * rows + r));
                sums[r] = [keys[0].fma(q, sums[r][0]), keys[1].fma(q, sums[r][1])];
            }
        }
        for r in 0..R {
            let out = out.add(r * SPLIT_TOKENS);
            sums[r][0].store(out);
            sums[r][1].store(out.add(LANES));
        }
    }
    R
}

/// Adds some tokens' values, `[32][stride]` of which the first `width` count, to all
/// rows of `o`, `[rows][width]`, times `p[r * SPLIT_TOKENS + token]`.
///
/// # Safety
/// That of [`Lanes`]; `width` is whole vectors, and tokens are below 32.
#[inline(always)]
unsafe fn value_rows<L: Lanes, E: Element>(
    values: *const E,
    stride: usize,
    width: usize,
    tokens: &Range<usize>,
    p: *const f32,
    rows: usize,
    o: *mut f32,
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's contract, for the rows from `row` on.
        unsafe {
            let (p, o) = (p.add(row * SPLIT_TOKENS), o.add(row * width));
            row += match rows - row {
                12.. if L::ROWS >= 12 => value::<L, E, 12, 2>(values, stride, width, tokens, p, o),
                8.. if L::ROWS >= 8 => value::<L, E, 8, 2>(values, stride, width, tokens, p, o),
                6.. if L::ROWS >= 6 => value::<L, E, 6, 4>(values, stride, width, tokens, p, o),
                4.. if L::ROWS >= 4 => value::<L, E, 4, 4>(values, stride, width, tokens, p, o),
                3.. if L::ROWS >= 3 => value::<L, E, 3, 4>(values, stride, width, tokens, p, o),
                2.. => value::<L, E, 2, 2>(values, stride, width, tokens, p, o),
                _ => value::<L, E, 1, 4>(values, stride, width, tokens, p, o),
            };
        }
    }
}

/// `R` rows of [`value_rows`], `D` vectors at a time; gives `R`.
///
/// # Safety
/// That of [`value_rows`].
#[inline(always)]
unsafe fn value<L: Lanes, E: Element, const R: usize, const D: usize>(
    values: *const E,
    stride: usize,
    width: usize,
    tokens: &Range<usize>,
    p: *const f32,
    o: *mut f32,
) -> usize {
    // SAFETY: the caller's contract.
    unsafe {
        let mut d = 0;
        while d + D * LANES <= width {
            columns::<L, E, R, D>(values.add(d), stride, width, tokens, p, o.add(d));
            d += D * LANES;
        }
        while d < width {
            columns::<L, E, R, 1>(values.add(d), stride, width, tokens, p, o.add(d));
            d += LANES;
        }
    }
    R
}

/// `D` vectors of [`value`].
///
/// # Safety
/// That of [`value_rows`].
#[inline(always)]
unsafe fn columns<L: Lanes, E: Element, const R: usize, const D: usize>(
    values: *const E,
    stride: usize,
    width: usize,
    tokens: &Range<usize>,
    p: *const f32,
    o: *mut f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[L::splat(0.0); D]; R];
        for r in 0..R {
            for j in 0..D {
                sums[r][j] = L::load(o.add(r * width + j * LANES));
            }
        }
        for token in tokens.clone() {
            let mut row = [L::splat(0.0); D];
            for j in 0..D {
                row[j] = E::load::<L>(values.add(token * stride + j * LANES));
            }
            for r in 0..R {
                let p = L::splat(*p.add(r * SPLIT_TOKENS + token));
                for j in 0..D {
                    sums[r][j] = row[j].fma(p, sums[r][j]);
                }
            }
        }
        for r in 0..R {
            for j in 0..D {
                sums[r][j].store(o.add(r * width + j * LANES));
            }
        }
    }
}
