//! Which sequence holds which page.
//!
//! A program's pages are allocated once; a [`Pool`] lends them to sequences, and
//! keeps the full ones that come back for as long as nobody needs their room: a
//! prompt that begins like one before it finds its pages there. Nothing here knows
//! of a device, so all of it is tested without one.
//!
//! - A page is free, or held by one sequence, or part of the prefix tree. A node of
//!   the tree is a run of [`PAGE_TOKENS`](hearth_program::PAGE_TOKENS) tokens behind
//!   the runs of its ancestors, with a page in every group that still has one. Any
//!   number of sequences hold a node's pages at a time; nobody writes them.
//! - Nodes are found by their parent and their tokens, which are compared: no hash
//!   stands for them, so no collision can mix texts. A root belongs to a salt;
//!   sequences of different salts share nothing.
//! - What nobody holds is evicted when its room is needed, the longest unused
//!   first, and of one sequence's pages the last first, so that no node is left
//!   without its ancestors. A sequence holds the ancestors of all that it holds.
//! - A group with a window gives a sequence's pages back as they slide out of it. A
//!   prefix is found again if the pages that its end still sees are there.
//!
//! Costs: a page is taken and given back in O(log pages), a prefix is looked up in
//! one hash of its tokens. What is lent comes back on Drop.

mod group;
mod pool;
mod table;
mod tree;

pub(crate) use pool::{Full, Pool};
pub(crate) use table::Table;

#[cfg(test)]
mod tests;
