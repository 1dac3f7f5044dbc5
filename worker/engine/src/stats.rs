//! What models on the device are at, for any other thread to read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a model is at, and what it has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that take part in steps.
    pub running: usize,
    /// Requests that wait for a place or for pages.
    pub waiting: usize,
    /// Pages of keys and values.
    pub pages: Pages,
    /// What was done.
    pub counts: Counts,
}

/// What pages of keys and values are used for. Pages of all groups of layers count alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// All of them.
    pub total: usize,
    /// Hold nothing.
    pub free: usize,
    /// Hold a text that no request is at, and can be evicted.
    pub cached: usize,
}

/// What was done so far; never less than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps that were computed.
    pub steps: u64,
    /// Tokens of prompts that were computed, those of requests that were set aside anew.
    pub read_tokens: u64,
    /// Tokens of prompts that were not computed, because an earlier request began with
    /// them.
    pub cached_tokens: u64,
    /// Tokens that decode rows took, with guesses.
    pub decoded_tokens: u64,
    /// Requests that were set aside to give their pages to older ones.
    pub preemptions: u64,
    /// Guesses that were checked.
    pub guesses: u64,
    /// Guesses that were right.
    pub right_guesses: u64,
}

impl Pages {
    /// Pages that requests hold.
    #[must_use]
    pub fn held(&self) -> usize {
        self.total.saturating_sub(self.free).saturating_sub(self.cached)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            free: self.free + other.free,
            cached: self.cached + other.cached,
        }
    }
}

impl Counts {
    pub(crate) fn step(&mut self, read: usize, decoded: usize) {
        self.steps += 1;
        self.read_tokens += read as u64;
        self.decoded_tokens += decoded as u64;
    }

    pub(crate) fn guess(&mut self, checked: usize, right: usize) {
        self.guesses += checked as u64;
        self.right_guesses += right as u64;
    }
}

/// Written by the device thread after each step. Never locked while the device computes.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, Stats>>);

impl Board {
    /// Writes down what a model is at.
    pub(crate) fn set(&self, id: &str, stats: Stats) {
        let mut board = self.lock();
        match board.get_mut(id) {
            Some(place) => *place = stats,
            None => {
                board.insert(id.into(), stats);
            }
        }
    }

    /// Forgets a model.
    pub(crate) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// All models, by their ids.
    pub(crate) fn all(&self) -> BTreeMap<String, Stats> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stats>> {
        // Each write is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
