//! The pool against a naive idea of it.

mod eviction;
mod property;

use std::sync::Arc;

use hearth_model::{KvType, Shape};
use hearth_program::{PAGE_TOKENS, PageLayout};

use super::Pool;

/// A pool for `sequences` sequences of `pages` pages, a layer a window.
fn layout(windows: &[Option<usize>], pages: usize, sequences: u32) -> PageLayout {
    let context_tokens = (pages * PAGE_TOKENS) as u32;
    let shape = Shape { context_tokens, sequences, kv_type: KvType::F16 };
    PageLayout::new(windows.iter().copied(), &shape)
}

fn salt(text: &str) -> Arc<str> {
    text.into()
}

/// A text that differs from others in the pages where its letters differ.
fn text(letters: &str) -> Vec<u32> {
    letters
        .bytes()
        .flat_map(|letter| (0..PAGE_TOKENS as u32).map(move |at| u32::from(letter) * 100 + at))
        .collect()
}

/// Pages that sequences hold, that hold nothing, and that are kept, in the first group.
fn counts(pool: &Pool) -> (usize, usize, usize) {
    let first = pool.occupancy()[0];
    (first.held(), first.free, first.cached)
}
