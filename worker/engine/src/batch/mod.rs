//! Continuous batching: many requests through one program, a step at a time.
//!
//! A step takes one token of every sequence that decodes and one piece of one
//! prompt, so that a long prompt holds nobody up for longer than a piece takes;
//! prompts take turns. Nothing here waits, reads a clock or starts a thread:
//! tests step it by hand.

mod sequence;
mod slots;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::api::{Outlet, RequestError, Stop};
use hearth_program::{Answers, PREFILL_CHUNK, Program, Row, Stage, StepError};
use hearth_sample::{Picker, Workspace};
use hearth_text::TextModel;
use sequence::{Fate, Sequence};
use slots::Slots;

/// Requests that may wait for a place. Whoever comes after them is better served
/// by another replica.
pub const MAX_WAITING: usize = 64;

/// Steps in a row that failed, after which the device is taken for broken.
const FAULTS_IN_A_ROW: u32 = 3;

/// What a step says of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Sound,
    /// Nothing that is asked of it will succeed: a context that saw a fault stays
    /// spoilt until its process ends.
    Broken,
}

/// A request whose prompt has been checked and tokenized.
pub(crate) struct Job {
    /// Shorter than the context.
    pub(crate) prompt: Vec<u32>,
    pub(crate) picker: Picker,
    pub(crate) stop: Stop,
    pub(crate) outlet: Outlet,
    pub(crate) cancelled: crate::api::Cancelled,
}

/// Shares one program among requests.
pub(crate) struct Batcher<P: Program> {
    program: P,
    text: Arc<TextModel>,
    /// Sequences that may run at the same time.
    places: usize,
    slots: Slots,
    waiting: VecDeque<Job>,
    running: Vec<Sequence>,
    /// Counts prompt pieces, so that prompts take turns.
    turn: usize,
    /// Steps in a row that failed.
    faults: u32,
    answers: Answers,
    picking: Workspace,
}

impl<P: Program> Batcher<P> {
    pub(crate) fn new(program: P, text: Arc<TextModel>, places: usize) -> Self {
        let slots = Slots::new(program.pages(), places, text.context_tokens() as usize);
        Self {
            program,
            text,
            places,
            slots,
            waiting: VecDeque::new(),
            running: Vec::new(),
            turn: 0,
            faults: 0,
            answers: Answers::default(),
            picking: Workspace::default(),
        }
    }

    /// Queues a request. It is refused if too many wait.
    pub(crate) fn submit(&mut self, job: Job) {
        if self.queued() >= MAX_WAITING {
            // Who has left since the last step keeps nobody out.
            self.cancel();
        }
        let waiting = self.queued();
        if waiting >= MAX_WAITING {
            job.outlet.fail(RequestError::Busy { waiting });
        } else {
            self.waiting.push_back(job);
        }
    }

    /// Requests that wait for others: those for whom a place is free only wait for
    /// the next step.
    fn queued(&self) -> usize {
        let free = self.places.saturating_sub(self.running.len());
        self.waiting.len().saturating_sub(free)
    }

    /// Whether a step would do anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Tokens that the next step computes, at the most: one of every sequence that
    /// decodes, and one piece of one prompt.
    pub(crate) fn tokens_ahead(&self) -> usize {
        let decodes = |sequence: &&Sequence| sequence.stage() == Stage::Decode;
        let decoding = self.running.iter().filter(decodes).count();
        let reads = decoding < self.running.len() || !self.waiting.is_empty();
        decoding + if reads { PREFILL_CHUNK } else { 0 }
    }

    /// Does one step: cancels, admits, computes, samples, sends.
    pub(crate) fn step(&mut self) -> Health {
        self.cancel();
        self.admit();
        let plan = self.plan();
        if plan.is_empty() {
            return Health::Sound;
        }
        match self.compute(&plan) {
            Ok(()) => {
                self.faults = 0;
                self.accept(&plan);
                Health::Sound
            }
            Err(fault) => {
                self.faults += 1;
                let broken = matches!(fault, Fault::Panic(_)) || self.faults >= FAULTS_IN_A_ROW;
                self.fail(&plan, &fault.into_error());
                if broken { Health::Broken } else { Health::Sound }
            }
        }
    }

    /// Ends every request, and takes no program with it.
    pub(crate) fn abort(&mut self, reason: &str) {
        let aborted = || RequestError::Aborted { reason: reason.into() };
        for job in self.waiting.drain(..) {
            job.outlet.fail(aborted());
        }
        for sequence in self.running.drain(..) {
            sequence.fail(aborted());
        }
    }

    fn cancel(&mut self) {
        let aborted = || RequestError::Aborted { reason: "the caller cancelled it".into() };
        let waiting = self.waiting.drain(..).partition(|job| job.cancelled.is_cancelled());
        let (cancelled, waiting): (VecDeque<_>, VecDeque<_>) = waiting;
        self.waiting = waiting;
        for job in cancelled {
            job.outlet.fail(aborted());
        }
        for sequence in self.running.extract_if(.., |sequence| sequence.is_cancelled()) {
            sequence.fail(aborted());
        }
    }

    fn admit(&mut self) {
        while self.running.len() < self.places {
            let Some(job) = self.waiting.pop_front() else { break };
            let slot = self.slots.take();
            self.running.push(Sequence::new(job, slot, self.text.context_tokens()));
        }
    }

    /// The rows of the next step, as indices of running sequences in order.
    fn plan(&mut self) -> Vec<(usize, Stage)> {
        let stages = self.running.iter().map(Sequence::stage).enumerate().collect::<Vec<_>>();
        let prompts = stages.iter().filter(|(_, stage)| matches!(stage, Stage::Prefill { .. })).count();
        let chosen = if prompts == 0 { 0 } else { self.turn % prompts };
        self.turn = self.turn.wrapping_add(usize::from(prompts > 0));
        let mut nth = 0;
        let mut plan = Vec::with_capacity(stages.len());
        for (index, stage) in stages {
            match stage {
                Stage::Decode => plan.push((index, stage)),
                Stage::Prefill { .. } => {
                    if nth == chosen {
                        plan.push((index, stage));
                    }
                    nth += 1;
                }
            }
        }
        plan
    }

    fn compute(&mut self, plan: &[(usize, Stage)]) -> Result<(), Fault> {
        let mut rows = Vec::with_capacity(plan.len());
        let mut planned = plan.iter().peekable();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            if let Some((_, stage)) = planned.next_if(|(planned, _)| *planned == index) {
                rows.push(sequence.row(*stage));
            }
        }
        step_caught(&mut self.program, &rows, &mut self.answers)?;
        if self.answers.rows() == plan.len() {
            Ok(())
        } else {
            let message = format!("{} answers for {} rows", self.answers.rows(), plan.len());
            Err(Fault::Error(StepError { message }))
        }
    }

    fn accept(&mut self, plan: &[(usize, Stage)]) {
        let mut ended = Vec::new();
        for (row, (index, _)) in plan.iter().enumerate() {
            let logits = self.answers.get_mut(row, 0);
            match self.running[*index].accept(logits, self.text.tokenizer(), &mut self.picking) {
                Fate::GoesOn => {}
                fate => ended.push((*index, fate)),
            }
        }
        // From the back, so that the indices in front stay valid.
        for (index, fate) in ended.into_iter().rev() {
            self.running.remove(index).end(fate);
        }
    }

    fn fail(&mut self, plan: &[(usize, Stage)], error: &StepError) {
        for (index, _) in plan.iter().rev() {
            let failed = RequestError::Internal { message: error.to_string() };
            self.running.remove(*index).fail(failed);
        }
    }
}

impl<P: Program> Drop for Batcher<P> {
    fn drop(&mut self) {
        self.abort("the model was unloaded");
    }
}

/// How a step failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The program said so.
    Error(StepError),
    /// It panicked; what it holds of the device is in an unknown state.
    Panic(StepError),
}

impl Fault {
    pub(crate) fn into_error(self) -> StepError {
        match self {
            Self::Error(error) | Self::Panic(error) => error,
        }
    }
}

/// Tensor libraries tell some faults of a device by panicking. Caught, so that
/// every request that runs gets an answer before the thread ends.
pub(crate) fn step_caught<P: Program>(
    program: &mut P,
    rows: &[Row<'_>],
    answers: &mut Answers,
) -> Result<(), Fault> {
    match catch_unwind(AssertUnwindSafe(|| program.step(rows, answers))) {
        Ok(stepped) => stepped.map_err(Fault::Error),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Fault::Panic(StepError { message: text.unwrap_or_else(|| "it panicked".into()) }))
        }
    }
}

#[cfg(test)]
mod tests;
