//! Rotary position embeddings.

use crate::lanes::{Lanes, kernel};

/// Which elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Elements `2i` and `2i + 1`.
    Adjacent,
    /// Elements `i` and `i + dims / 2`, of the `dims` that turn.
    Halves,
}

/// The cosines, then the sines, of what each pair turns by at a position.
/// `frequencies` are radians a token.
///
/// # Panics
/// `out` has not two numbers a pair.
pub fn turns(frequencies: &[f64], position: usize, out: &mut [f32]) {
    assert_eq!(out.len(), 2 * frequencies.len(), "turns of other pairs");
    let (cosines, sines) = out.split_at_mut(frequencies.len());
    for ((frequency, cosine), sine) in frequencies.iter().zip(cosines).zip(sines) {
        // In double precision: a position times a frequency of about 1 has no digits
        // left after the point in single.
        let (s, c) = (position as f64 * frequency).sin_cos();
        (*cosine, *sine) = (c as f32, s as f32);
    }
}

kernel! {
    /// Turns the heads of a row by [`turns`]; elements of a head behind those that turn
    /// stay.
    ///
    /// # Panics
    /// The row is not whole heads, or fewer elements of one than turn.
    pub fn rope(pairs: Pairs, turns: &[f32], head_dim: usize, heads: &mut [f32]) as body {
        assert!(head_dim > 0 && heads.len().is_multiple_of(head_dim), "parts of heads");
        assert!(turns.len().is_multiple_of(2) && turns.len() <= head_dim, "heads turn by their elements");
    }
}

/// Plain arithmetic that compilers turn into vectors: two products and a sum for each
/// element, in one order.
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn body<L: Lanes>(pairs: Pairs, turns: &[f32], head_dim: usize, heads: &mut [f32]) {
    let half = turns.len() / 2;
    let (cosines, sines) = turns.split_at(half);
    for head in heads.chunks_exact_mut(head_dim) {
        match pairs {
            Pairs::Adjacent => {
                let (head, _) = head[..2 * half].as_chunks_mut::<2>();
                for ((pair, c), s) in head.iter_mut().zip(cosines).zip(sines) {
                    let [a, b] = *pair;
                    *pair = [a * c - b * s, b * c + a * s];
                }
            }
            Pairs::Halves => {
                let (first, second) = head[..2 * half].split_at_mut(half);
                for (((a, b), c), s) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                    (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                }
            }
        }
    }
}
