//! What is remembered of the failures of the machines' Pods.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first wait before a Pod that failed or found no place is made again; it
/// doubles with each further failure.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// A Pod that ran for this long is forgiven its earlier failures.
pub(super) const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// What is remembered of the failures of the machines' Pods.
#[derive(Debug, Default)]
pub struct Failures(BTreeMap<String, Failure>);

#[derive(Debug)]
struct Failure {
    count: u32,
    until: Instant,
    why: String,
    /// The Pod that failed: it is counted once.
    uid: String,
}

impl Failures {
    /// Why a Pod is not made yet, and until when.
    pub fn blocked(&self, worker: &str, now: Instant) -> Option<(&str, Instant)> {
        self.0
            .get(worker)
            .filter(|failure| now < failure.until)
            .map(|failure| (failure.why.as_str(), failure.until))
    }

    /// When the next wait is over.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|failure| failure.until).filter(|until| *until > now).min()
    }

    /// A Pod failed. The same Pod is counted once.
    pub fn add(&mut self, worker: &str, uid: &str, why: &str, now: Instant) {
        let count = match self.0.get(worker) {
            Some(failure) if failure.uid == uid => return,
            Some(failure) => failure.count + 1,
            None => 0,
        };
        let wait = FIRST_WAIT.saturating_mul(1 << count.min(10)).min(LONGEST_WAIT);
        let failure = Failure { count, until: now + wait, why: why.to_owned(), uid: uid.to_owned() };
        self.0.insert(worker.to_owned(), failure);
    }

    /// Forgets machines that are gone.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.0.retain(|worker, _| exists(worker));
    }

    /// A Pod runs well: its machine's failures are forgotten once it did so for
    /// a while.
    pub fn forgive(&mut self, worker: &str, now: Instant) {
        if self.0.get(worker).is_some_and(|failure| now >= failure.until + FORGIVEN_AFTER) {
            self.0.remove(worker);
        }
    }
}
