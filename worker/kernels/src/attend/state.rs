//! What is known of rows after some splits: `o [rows][padded value_dim]`, `m [rows]`,
//! `l [rows]`. A row that saw nothing has `l` = 0.

use super::Block;
use crate::isa::Isa;
use crate::kv::PageForm;
use crate::lanes::{LANES, Lanes, exp, kernel};

/// Numbers of the state of `rows` rows (query heads of tokens).
#[must_use]
pub fn state_len(form: &PageForm, rows: usize) -> usize {
    rows * (form.padded_value_dim() + 2)
}

/// The rows of a state of `len` numbers.
fn rows_of(form: &PageForm, len: usize) -> usize {
    len / (form.padded_value_dim() + 2)
}

/// Merges the states of consecutive splits, in their order, into the first, and writes
/// its rows' results to `out`, which gets a row a token, with the results of its `group`
/// heads next to each other.
///
/// # Panics
/// There is no state, they are not of `out`'s rows, or `out` has other columns.
pub fn finish(isa: Isa, form: &PageForm, group: usize, states: &mut [f32], out: &mut Block<'_>) {
    let len = state_len(form, out.rows() * group);
    assert!(len > 0 && states.len() >= len && states.len().is_multiple_of(len), "parts of states");
    let (state, others) = states.split_at_mut(len);
    for next in others.chunks_exact(len) {
        merge(isa, form, state, next);
    }
    write(isa, form, group, state, out);
}

kernel! {
    /// Merges the state of the splits that come next.
    pub(super) fn merge(form: &PageForm, state: &mut [f32], next: &[f32]) as merge_body {
        assert_eq!(state.len(), next.len(), "states of other rows");
        assert_eq!(state.len(), state_len(form, rows_of(form, state.len())), "parts of states");
    }
}

/// # Safety
/// That of [`Lanes`]; both are states of as many rows.
#[inline(always)]
unsafe fn merge_body<L: Lanes>(form: &PageForm, state: &mut [f32], next: &[f32]) {
    let (rows, width) = (rows_of(form, state.len()), form.padded_value_dim());
    let (o, ml) = state.split_at_mut(rows * width);
    let (m, l) = ml.split_at_mut(rows);
    let (next_o, next_ml) = next.split_at(rows * width);
    let (next_m, next_l) = next_ml.split_at(rows);
    for row in 0..rows {
        let (o, next_o) = (&mut o[row * width..][..width], &next_o[row * width..][..width]);
        if next_l[row] == 0.0 {
            continue;
        }
        if l[row] == 0.0 {
            o.copy_from_slice(next_o);
            (m[row], l[row]) = (next_m[row], next_l[row]);
            continue;
        }
        let most = if next_m[row] > m[row] { next_m[row] } else { m[row] };
        // SAFETY: the caller's contract; rows are whole vectors.
        unsafe {
            let (old, new) = (exp(L::splat(m[row] - most)), exp(L::splat(next_m[row] - most)));
            let merged = L::splat(next_l[row]).fma(new, L::splat(l[row]).mul(old));
            (m[row], l[row]) = (most, merged.lanes()[0]);
            for at in (0..width).step_by(LANES) {
                let of_old = L::load(o.as_ptr().add(at)).mul(old);
                L::load(next_o.as_ptr().add(at)).fma(new, of_old).store(o.as_mut_ptr().add(at));
            }
        }
    }
}

kernel! {
    /// Writes a state's results.
    pub(super) fn write(form: &PageForm, group: usize, state: &[f32], out: &mut Block<'_>) as write_body {
        assert_eq!(state.len(), state_len(form, out.rows() * group), "a state of other rows");
        assert_eq!(out.columns(), group * form.value_dim(), "results of other heads");
    }
}

/// # Safety
/// That of [`Lanes`]; `out` has a row for every `group` rows of the state, as wide as
/// their values.
#[inline(always)]
unsafe fn write_body<L: Lanes>(form: &PageForm, group: usize, state: &[f32], out: &mut Block<'_>) {
    let (rows, padded, width) = (out.rows() * group, form.padded_value_dim(), form.value_dim());
    let l = &state[rows * (padded + 1)..];
    for row in 0..rows {
        let o = &state[row * padded..][..padded];
        let to = &mut out.row(row / group)[row % group * width..][..width];
        for (o, to) in o.chunks_exact(LANES).zip(to.chunks_mut(LANES)) {
            // SAFETY: the caller's contract; a whole vector of `o`.
            let read = unsafe { L::load(o.as_ptr()).div(L::splat(l[row])) };
            if let Ok(to) = <&mut [f32; LANES]>::try_from(&mut *to) {
                // SAFETY: as many numbers.
                unsafe { read.store(to.as_mut_ptr()) };
            } else {
                // SAFETY: the caller's contract.
                to.copy_from_slice(&unsafe { read.lanes() }[..to.len()]);
            }
        }
    }
}
