//! A program that tells what it was asked.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_program::{Answers, Output, PAGE_TOKENS, PageLayout, Program, Row, Stage, StepError};

use crate::batch::Clock;

use super::bench::BYTES;

/// What a sequence's tokens are followed by.
pub(super) type Next = fn(&[u32]) -> u32;

/// Set in a token that was taken by a decode, where that makes a difference.
pub(super) const DECODED: u32 = 1 << 30;

/// A program whose answers are what a function makes of a sequence's tokens, which
/// it keeps in its pages. Its first group has no window.
pub(super) struct Script {
    pub(super) next: Next,
    pub(super) vocabulary: usize,
    pub(super) layout: PageLayout,
    /// A token a position, a list of pages a group.
    pub(super) pages: Vec<Vec<[u32; PAGE_TOKENS]>>,
    /// Whether what a decode takes differs from what a prompt's piece takes.
    pub(super) stages_differ: bool,
    pub(super) prefill_rows: usize,
    pub(super) costs: Costs,
    pub(super) log: Log,
}

/// Microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// Of each step.
    pub(super) step: u64,
    /// Of a token that is decoded.
    pub(super) decode: u64,
    /// Of a token of a prompt.
    pub(super) read: u64,
}

impl Default for Costs {
    fn default() -> Self {
        Self { step: 100, decode: 10, read: 1 }
    }
}

/// What is known of a program from outside.
#[derive(Clone, Default)]
pub(super) struct Log {
    pub(super) steps: Arc<Mutex<Vec<Vec<Seen>>>>,
    /// Steps that fail, from now on.
    pub(super) faults: Arc<AtomicUsize>,
    /// Microseconds that steps took.
    pub(super) time: Arc<AtomicU64>,
}

/// A row that was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Which request, if its prompt begins with it.
    pub(super) request: u32,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) stage: Stage,
}

impl Clock for Log {
    fn now(&self) -> Duration {
        Duration::from_micros(self.time.load(Ordering::Relaxed))
    }
}

impl Script {
    pub(super) fn new(next: Next, vocabulary: usize, layout: PageLayout) -> Self {
        let pages = layout.groups.iter().map(|group| vec![[0; PAGE_TOKENS]; group.pages]).collect();
        Self {
            next,
            vocabulary,
            layout,
            pages,
            stages_differ: false,
            prefill_rows: 1,
            costs: Costs::default(),
            log: Log::default(),
        }
    }

    /// Writes a row's tokens, and reads all of the sequence. What is seen of it
    /// through other tables has to be the same.
    fn take(&mut self, row: &Row<'_>) -> Vec<u32> {
        self.layout.check(row).unwrap();
        let end = row.start + row.tokens.len();
        let mark = if self.stages_differ && row.stage == Stage::Decode { DECODED } else { 0 };
        for (pages, table) in self.pages.iter_mut().zip(row.tables) {
            for (position, token) in (row.start..).zip(row.tokens) {
                pages[table[position / PAGE_TOKENS].0 as usize][position % PAGE_TOKENS] = *token | mark;
            }
        }
        let read = |group: usize, at: usize| {
            self.pages[group][row.tables[group][at / PAGE_TOKENS].0 as usize][at % PAGE_TOKENS]
        };
        let tokens = (0..end).map(|at| read(0, at)).collect::<Vec<_>>();
        let firsts = self.layout.groups.iter().map(|group| group.first_seen(row.start));
        for (group, first) in firsts.enumerate() {
            assert!((first..end).all(|at| read(group, at) == tokens[at]), "group {group} holds another text");
        }
        tokens
    }
}

impl Program for Script {
    fn pages(&self) -> &PageLayout {
        &self.layout
    }

    fn output(&self) -> Output {
        Output::Logits { vocabulary: self.vocabulary }
    }

    fn decodes_as_it_prefills(&self) -> bool {
        !self.stages_differ
    }

    fn prefill_rows(&self) -> usize {
        self.prefill_rows
    }

    fn step(&mut self, batch: &[Row<'_>], answers: &mut Answers) -> Result<(), StepError> {
        assert!(!batch.is_empty(), "a step of nothing");
        let one_less = |left: usize| left.checked_sub(1);
        if self.log.faults.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Err(StepError { message: "a fault of the device".into() });
        }
        let mut seen = Vec::new();
        let mut took = self.costs.step;
        let mut logits = answers.prepare(self.vocabulary, batch).chunks_mut(self.vocabulary);
        for row in batch {
            let tokens = self.take(row);
            let request = tokens[0].wrapping_sub(BYTES);
            let len = row.tokens.len();
            seen.push(Seen { request, start: row.start, len, stage: row.stage });
            let each = if row.stage == Stage::Decode { self.costs.decode } else { self.costs.read };
            took += each * len as u64;
            for end in tokens.len() + 1 - row.answers()..=tokens.len() {
                let logits = logits.next().unwrap();
                logits.fill(0.0);
                logits[(self.next)(&tokens[..end]) as usize] = 1.0;
            }
        }
        self.log.time.fetch_add(took, Ordering::Relaxed);
        self.log.steps.lock().unwrap().push(seen);
        Ok(())
    }
}
