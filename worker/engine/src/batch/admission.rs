//! Who runs, who waits, and who is let go.

use std::collections::VecDeque;

use hearth_program::Program;

use crate::api::RequestError;

use super::running::Running;
use super::sequence::Sequence;
use super::{Batcher, Job, MAX_WAITING};

impl<P: Program> Batcher<P> {
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
            self.submitted += 1;
            self.waiting.push_back(Sequence::new(self.submitted, job, self.text.context_tokens()));
        }
    }

    /// Requests that wait for others: those for whom a place is free only wait for
    /// the next step.
    fn queued(&self) -> usize {
        let free = self.limits.places.saturating_sub(self.running.len());
        self.waiting.len().saturating_sub(free)
    }

    /// Ends what nobody wants any more.
    pub(super) fn cancel(&mut self) {
        let aborted = || RequestError::Aborted { reason: "the caller cancelled it".into() };
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (cancelled, waiting) = waiting.partition::<VecDeque<_>, _>(Sequence::is_cancelled);
        if !cancelled.is_empty() {
            // The first that waits may be another one now.
            self.full_at = None;
        }
        self.waiting = waiting;
        for sequence in cancelled {
            sequence.fail(aborted());
        }
        for running in self.running.extract_if(.., |running| running.sequence.is_cancelled()) {
            running.set_aside().fail(aborted());
        }
    }

    /// Lets those run who wait, in their order, while there are places and pages.
    pub(super) fn admit(&mut self) {
        while self.running.len() < self.limits.places {
            if self.full_at == Some(self.pool.releases()) && !self.running.is_empty() {
                return;
            }
            let Some(sequence) = self.waiting.pop_front() else { return };
            let reads_output = self.program.decodes_as_it_prefills();
            let most = Running::most_shared(&sequence, reads_output);
            let table = self.pool.begin(&sequence.salt, &sequence.tokens, most);
            let mut next = Running::new(sequence, table, reads_output);
            if self.running.is_empty() || self.fits(&next) {
                self.full_at = None;
                self.counts.cached_tokens += next.begin() as u64;
                self.running.push(next);
            } else {
                self.waiting.push_front(next.set_aside());
                // What it had found was given back just now, which is no news.
                self.full_at = Some(self.pool.releases());
                return;
            }
        }
    }

    /// Whether there are pages for what `next` reads, beside those that are as good
    /// as taken: for what others read, and one for each that decodes, so that who was
    /// set aside does not come back for a step or two only.
    fn fits(&self, next: &Running) -> bool {
        let mut wanted = next.wants();
        for running in &self.running {
            for (wanted, more) in wanted.iter_mut().zip(running.wants()) {
                *wanted += more.max(1);
            }
        }
        self.pool.available().iter().zip(wanted).all(|(available, wanted)| wanted <= *available)
    }

    /// Gives the pages of the youngest to others. It is computed anew when there is
    /// room again. Rows are begun from the oldest on, so it has none yet.
    pub(super) fn set_youngest_aside(&mut self) {
        if let Some(youngest) = self.running.pop() {
            self.counts.preemptions += 1;
            let Sequence { number, tokens, .. } = &youngest.sequence;
            tracing::debug!(request = number, tokens = tokens.len(), "set aside for lack of pages");
            self.waiting.push_front(youngest.set_aside());
        }
    }
}
