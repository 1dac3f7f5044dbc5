//! Continuous batching: many requests through one program, a step at a time.
//!
//! A step takes the next token of every sequence that decodes, with guesses behind
//! it where there are some, and pieces of prompts for as long as the step is
//! expected to stay within its time; prompts take turns. Requests run in the order
//! in which they came, as soon as there are pages for their prompts; further pages
//! are taken as tokens come. When there are none left, the youngest request is set
//! aside and computed anew later, with the same output, so that the oldest always
//! goes on. Nothing here waits or starts a thread, and time comes through
//! [`Clock`]: tests step it by hand.

mod admission;
mod cost;
mod fault;
mod guess;
mod running;
mod sequence;
mod terms;
mod turns;

use std::collections::VecDeque;
use std::sync::Arc;

use hearth_program::{Answers, PREFILL_CHUNK, Program};
use hearth_sample::Workspace;
use hearth_text::TextModel;

use crate::api::RequestError;
use crate::kv::Pool;
use crate::stats::{Counts, Stats};

use cost::{CostModel, Work};
pub(crate) use fault::{Fault, step_caught};
use running::Running;
use sequence::{Fate, Sequence};
pub use terms::MAX_WAITING;
pub(crate) use terms::{Clock, Health, Job, Limits};
use turns::{Budget, Shares, Turns};

/// Decode rows and guesses of a step together, beyond which nothing is guessed. Each is
/// answered with a number for every token of the vocabulary, and where many share a
/// step, what guesses would save is shared already.
const ANSWERS_WITH_GUESSES: usize = 16;

/// How many times as long guesses may make a step that others wait for.
const GUESSING_PACE: f64 = 1.5;

/// Steps in a row that failed, after which the device is taken for broken.
const FAULTS_IN_A_ROW: u32 = 3;

/// Shares one program among requests.
pub(crate) struct Batcher<P: Program> {
    program: P,
    text: Arc<TextModel>,
    limits: Limits,
    pool: Pool,
    /// In the order in which they came.
    waiting: VecDeque<Sequence>,
    /// In the order in which they came, all of them before those that wait.
    running: Vec<Running>,
    submitted: u64,
    turns: Turns,
    cost: CostModel,
    counts: Counts,
    /// Steps in a row that failed.
    faults: u32,
    answers: Answers,
    workspace: Workspace,
    /// Releases of pages that had happened when the first that waits was found not
    /// to fit: before another one there is no use in looking again.
    full_at: Option<u64>,
}

impl<P: Program> Batcher<P> {
    pub(crate) fn new(program: P, text: Arc<TextModel>, limits: Limits) -> Self {
        Self {
            pool: Pool::new(program.pages()),
            program,
            text,
            limits,
            waiting: VecDeque::new(),
            running: Vec::new(),
            submitted: 0,
            turns: Turns::default(),
            cost: CostModel::new(),
            counts: Counts::default(),
            faults: 0,
            answers: Answers::default(),
            workspace: Workspace::default(),
            full_at: None,
        }
    }

    /// Whether a step would do anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Tokens that the next step computes, at the most.
    pub(crate) fn tokens_ahead(&self) -> usize {
        let running = self.running.iter().map(|running| running.next_tokens() + running.sequence.guesses);
        let waiting = self.waiting.iter().map(|sequence| sequence.tokens.len().min(PREFILL_CHUNK));
        running.chain(waiting.take(self.limits.places.saturating_sub(self.running.len()))).sum()
    }

    /// What it is at, and what it has done so far.
    pub(crate) fn stats(&self) -> Stats {
        let pages = self.pool.occupancy().into_iter().fold(crate::Pages::default(), crate::Pages::and);
        Stats { running: self.running.len(), waiting: self.waiting.len(), pages, counts: self.counts }
    }

    /// Does one step: cancels, admits, computes, picks, sends.
    pub(crate) fn step(&mut self, clock: &dyn Clock) -> Health {
        self.cancel();
        self.admit();
        let work = self.begin_rows();
        if work == Work::default() {
            return Health::Sound;
        }
        let began = clock.now();
        match self.compute() {
            Ok(()) => {
                self.faults = 0;
                self.accept();
                // Picking tokens is part of what a step takes.
                self.cost.learn(work, clock.now().saturating_sub(began));
                self.counts.step(work.prefill, work.decode);
                Health::Sound
            }
            Err(fault) => {
                self.faults += 1;
                let broken = matches!(fault, Fault::Panic(_)) || self.faults >= FAULTS_IN_A_ROW;
                let error = fault.into_error();
                for running in self.running.extract_if(.., |running| running.row().is_some()) {
                    running.set_aside().fail(RequestError::Internal { message: error.to_string() });
                }
                if broken { Health::Broken } else { Health::Sound }
            }
        }
    }

    /// Ends every request, and takes no program with it.
    pub(crate) fn abort(&mut self, reason: &str) {
        let running = self.running.drain(..).map(Running::set_aside);
        for sequence in running.chain(self.waiting.drain(..)) {
            sequence.fail(RequestError::Aborted { reason: reason.into() });
        }
    }

    /// Decides what the next step computes, takes the pages for it, and says what
    /// work it is. The oldest come first, so that a lack of pages never stops them.
    fn begin_rows(&mut self) -> Work {
        let guesses = self.guess();
        let chosen = self.choose(guesses.iter().map(Vec::len).sum());
        let mut total = Work::default();
        for (index, most) in chosen {
            if index >= self.running.len() {
                // It was set aside for one before it.
                continue;
            }
            while index < self.running.len() {
                match self.running[index].begin_row(most, &guesses[index]) {
                    Ok(work) => {
                        total = total.and(work);
                        break;
                    }
                    Err(_) => self.set_youngest_aside(),
                }
            }
        }
        total
    }

    /// Guesses for each running sequence, as many as there is time for.
    fn guess(&mut self) -> Vec<Vec<u32>> {
        let decodes = self.running.iter().filter(|running| !running.reads());
        let decoding = decodes.clone().fold(Work::default(), |work, running| work.and(running.work()));
        let mut room = ANSWERS_WITH_GUESSES.saturating_sub(decodes.count());
        if self.running.len() > 1 {
            let allowed = GUESSING_PACE * self.cost.predict(decoding);
            let takes = |decode| self.cost.predict(decoding.and(Work { decode, ..Work::default() }));
            room = (0..=room).rev().find(|guesses| takes(*guesses) <= allowed).unwrap_or(0);
        }
        let guess = |running: &mut Running| {
            let mut guesses = Vec::new();
            if running.can_guess() {
                running.sequence.guess(room, &mut guesses);
                room -= guesses.len();
            }
            guesses
        };
        self.running.iter_mut().map(guess).collect()
    }

    /// The rows of the next step, as indices of running sequences in their order and
    /// tokens at the most: all that decode, and beside them and their guesses pieces of
    /// prompts, as far as the time for a step goes.
    fn choose(&mut self, guesses: usize) -> Vec<(usize, usize)> {
        let reads = |(_, running): &(usize, &Running)| running.reads();
        let (prompts, decodes): (Vec<_>, Vec<_>) = self.running.iter().enumerate().partition(reads);
        let guessing = Work { decode: guesses, ..Work::default() };
        let decoding = decodes.iter().fold(guessing, |work, (_, running)| work.and(running.work()));
        let mut chosen =
            decodes.iter().map(|(index, running)| (*index, running.next_tokens())).collect::<Vec<_>>();
        let pieces = prompts.iter().map(|(index, running)| running.piece(*index)).collect::<Vec<_>>();
        let shares = Shares { decode: decodes.len(), read: prompts.len() };
        let budget = Budget::new(&self.limits, decoding, shares, self.program.prefill_rows());
        chosen.extend(self.turns.choose(&pieces, &budget, &self.cost));
        chosen.sort_unstable();
        chosen
    }

    fn compute(&mut self) -> Result<(), Fault> {
        let rows = self.running.iter().filter_map(Running::row).collect::<Vec<_>>();
        step_caught(&mut self.program, &rows, &mut self.answers)
    }

    fn accept(&mut self) {
        let shares_output = self.program.decodes_as_it_prefills();
        let Self { running, answers, text, workspace, counts, .. } = self;
        let mut row = 0;
        let mut ended = Vec::new();
        for (index, running) in running.iter_mut().enumerate() {
            if running.row().is_none() {
                continue;
            }
            let guessed = running.guesses();
            let fate = running.accept(answers, row, shares_output, text.tokenizer(), workspace);
            row += 1;
            counts.guess(guessed, running.right());
            match fate {
                Fate::GoesOn => {}
                fate => ended.push((index, fate)),
            }
        }
        // From the back, so that the indices in front stay valid.
        for (index, fate) in ended.into_iter().rev() {
            self.running.remove(index).set_aside().end(fate);
        }
    }
}

impl<P: Program> Drop for Batcher<P> {
    fn drop(&mut self) {
        self.abort("the model was unloaded");
    }
}

#[cfg(test)]
mod tests;
