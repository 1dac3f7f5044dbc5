//! Attention over paged keys and values.
//!
//! # The result
//! Positions are cut into splits of [`SPLIT_TOKENS`], wherever a sequence begins to be
//! read. For a row (a query head of a token) and a split, over the positions that the
//! row sees:
//!
//! ```text
//! sₜ = Σ (scale · q[d]) · k[t][d]         each step fused, d rising from 0
//! m  = max sₜ,  pₜ = exp(sₜ − m)
//! l  = Σ pₜ                               in 16 lanes, t in lane t % 16, then by halves
//! o  = Σ pₜ · v[t]                        each step fused, t rising
//! ```
//!
//! and the splits' `(m, l, o)` are merged one after another, each rescaled to the
//! greater `m`. The row's result is `o / l`. Nothing here depends on how many rows are
//! computed together or by whom: a token gives the same bits in a prompt, alone and in
//! a batch.
//!
//! # Speed
//! Decoding reads keys and values once for all query heads of a group, straight from
//! the pages. In a prompt many rows meet the same pages, which are widened to `f32`
//! once for a block of rows. Tasks of a long sequence are its splits, so that all
//! threads work on one token.

mod body;
mod state;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::isa::Isa;
use crate::kv::{PAGE_TOKENS, PageForm};
use crate::lanes::kernel;
use crate::pool::Block;

pub use state::{finish, state_len};

use body::{scale_body, split_body};
use state::{merge, write};

/// Positions of a split.
pub const SPLIT_TOKENS: usize = 128;
/// Pages of a split.
const SPLIT_PAGES: usize = SPLIT_TOKENS / PAGE_TOKENS;
/// Rows that a task takes where a token has fewer: what makes widening pages cheap,
/// and keeps a task's scratch in the first two levels of cache.
const TASK_ROWS: usize = 48;

/// How the query heads of a layer look at its keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Query heads of a key head.
    pub group: usize,
    /// Queries are multiplied with it.
    pub scale: f32,
    /// Scores `s` become `cap · tanh(s / cap)`.
    pub soft_cap: Option<f32>,
    /// Which positions a position sees.
    pub sight: Sight,
}

/// Which positions of its sequence a position sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Itself and those before it.
    Past {
        /// Only so many, itself among them; at least 1.
        window: Option<usize>,
    },
    /// All.
    All,
}

impl Look {
    /// Tokens of one sequence that make a good task.
    #[must_use]
    pub fn task_tokens(&self) -> usize {
        (TASK_ROWS / self.group).max(1)
    }

    /// What `position` sees of a sequence of `length` positions.
    fn seen(&self, position: usize, length: usize) -> Range<usize> {
        match self.sight {
            Sight::Past { window } => {
                window.map_or(0, |window| (position + 1).saturating_sub(window))..position + 1
            }
            Sight::All => 0..length,
        }
    }
}

/// The queries of a key head's group, of some consecutive tokens of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// The first token's first query of the group; the group's others follow it.
    pub numbers: &'a [f32],
    /// Numbers between two tokens.
    pub stride: usize,
    /// Tokens.
    pub tokens: usize,
    /// The first token's position.
    pub position: usize,
    /// Positions of the sequence whose keys and values are in the pages: up to the last
    /// of the tokens at least.
    pub length: usize,
}

/// What one thread needs to attend.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    work: Work,
    /// Two [states](state_len).
    states: [Vec<f32>; 2],
}

#[derive(Clone, Debug, Default)]
struct Work {
    /// `[key_dim][rows]`, scaled.
    queries: Vec<f32>,
    /// `[rows][SPLIT_TOKENS]`: scores, then their exponentials.
    scores: Vec<f32>,
    /// A page's keys or values in `f32`.
    page: Vec<f32>,
}

impl Scratch {
    /// Space for tasks of up to `look.task_tokens()` tokens, so that attending does not
    /// allocate.
    #[must_use]
    pub fn with_capacity(form: &PageForm, look: &Look) -> Self {
        let mut scratch = Self::default();
        scratch.fit(form, look, look.task_tokens());
        scratch
    }

    /// Bytes of it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Self { work: Work { queries, scores, page }, states: [a, b] } = self;
        [queries, scores, page, a, b].into_iter().map(|part| part.capacity() * size_of::<f32>()).sum()
    }

    /// Makes it large enough, also where it was made for another layer.
    pub fn fit(&mut self, form: &PageForm, look: &Look, tokens: usize) {
        let rows = tokens * look.group;
        let at_least = |part: &mut Vec<f32>, len: usize| {
            if part.len() < len {
                part.resize(len, 0.0);
            }
        };
        at_least(&mut self.work.queries, form.key_dim() * rows);
        at_least(&mut self.work.scores, SPLIT_TOKENS * rows);
        at_least(&mut self.work.page, PAGE_TOKENS * form.key_dim().max(form.padded_value_dim()));
        for state in &mut self.states {
            at_least(state, state_len(form, rows));
        }
    }
}

/// Attention of some tokens to one key head.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The outline of the layer's pages.
    pub form: &'a PageForm,
    /// How they are looked at.
    pub look: &'a Look,
    /// The page of positions `32 n ..`.
    pub page: &'a (dyn Fn(usize) -> &'a [u8] + Sync),
    /// The key head.
    pub kv_head: usize,
    /// Who looks.
    pub queries: Queries<'a>,
}

impl std::fmt::Debug for Task<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("kv_head", &self.kv_head).field("queries", &self.queries).finish()
    }
}

impl Task<'_> {
    /// The splits that any of the tokens sees.
    #[must_use]
    pub fn splits(&self) -> Range<usize> {
        let seen = self.seen();
        seen.start / SPLIT_TOKENS..seen.end.div_ceil(SPLIT_TOKENS)
    }

    /// The positions that any of the tokens sees.
    fn seen(&self) -> Range<usize> {
        let Queries { tokens, position, length, .. } = self.queries;
        let end = self.look.seen(position + tokens - 1, length).end;
        self.look.seen(position, length).start..end
    }

    /// Attends to `splits`, each by itself: their [states](state_len) come one after
    /// another, for [`finish`].
    ///
    /// # Panics
    /// The queries or the pages are not of the form, `out` does not have the states'
    /// length, or no token sees one of the splits.
    pub fn parts(&self, isa: Isa, splits: Range<usize>, scratch: &mut Scratch, out: &mut [f32]) {
        self.check();
        let all = self.splits();
        assert!(all.start <= splits.start && splits.end <= all.end, "splits that nobody sees");
        let len = state_len(self.form, self.rows());
        assert_eq!(out.len(), splits.len() * len, "states of other splits");
        scratch.fit(self.form, self.look, self.queries.tokens);
        scale_queries(isa, self, &mut scratch.work.queries);
        for (split, out) in splits.zip(out.chunks_exact_mut(len)) {
            attend_split(isa, self, split, &mut scratch.work, out);
        }
    }

    /// Attends to everything. `out` gets a row a token, which holds the results of the
    /// group's heads next to each other.
    ///
    /// # Panics
    /// The queries or the pages are not of the form, or `out` has other rows.
    pub fn whole(&self, isa: Isa, scratch: &mut Scratch, out: &mut Block<'_>) {
        self.check();
        scratch.fit(self.form, self.look, self.queries.tokens);
        let Scratch { work, states: [state, next] } = scratch;
        scale_queries(isa, self, &mut work.queries);
        let len = state_len(self.form, self.rows());
        let (state, next) = (&mut state[..len], &mut next[..len]);
        let splits = self.splits();
        attend_split(isa, self, splits.start, work, state);
        for split in splits.skip(1) {
            attend_split(isa, self, split, work, next);
            merge(isa, self.form, state, next);
        }
        write(isa, self.form, self.look.group, state, out);
    }

    fn rows(&self) -> usize {
        self.queries.tokens * self.look.group
    }

    fn check(&self) {
        let Queries { numbers, stride, tokens, position, length } = self.queries;
        let width = self.look.group * self.form.key_dim();
        assert!(tokens > 0 && self.look.group > 0, "nobody looks");
        assert!(self.look.sight != Sight::Past { window: Some(0) }, "a window without positions");
        assert!(
            position.checked_add(tokens).is_some_and(|end| end <= length),
            "a sequence without its tokens"
        );
        assert!(self.kv_head < self.form.kv_heads(), "no key head {}", self.kv_head);
        assert!(numbers.len() >= (tokens - 1) * stride + width, "queries of other heads");
    }
}

kernel! {
    fn scale_queries(task: &Task<'_>, out: &mut [f32]) as scale_body {}
}

kernel! {
    /// `work` fits the task, and `out` has its state's length.
    fn attend_split(task: &Task<'_>, split: usize, work: &mut Work, out: &mut [f32]) as split_body {}
}
