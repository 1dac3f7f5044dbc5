//! Which replica takes a request: the one with the least work outstanding.
//!
//! Pure: the clock is an argument.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::routes::{Replica, Route};

/// The first pause after a failure; each further one in a row is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause. Health is the controller's to judge: this only spares a request the wait
/// for a machine that has just failed another one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a request asks of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Whether it occupies one of the replica's sequences.
    pub sequence: bool,
    /// The tokens it is likely to cost: an estimate, for comparison only.
    pub tokens: u64,
}

/// A replica and where it is, the unit that work is counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The replica's id.
    pub id: String,
    /// The Worker that holds it.
    pub worker: String,
    /// The device that holds it.
    pub device: String,
}

impl Slot {
    /// The slot of a replica.
    pub fn of(replica: &Replica) -> Self {
        let Replica { id, worker, device, address: _, sequences: _ } = replica;
        Self { id: id.clone(), worker: worker.clone(), device: device.clone() }
    }
}

/// What a failure says about where the next request should not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The machine cannot be reached: none of its replicas.
    Worker,
    /// This replica would not take the request.
    Replica,
}

/// Why no replica can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// There is none.
    None,
    /// All sequences are in use.
    Busy,
    /// Every replica with room has just failed.
    Pausing,
}

/// Work outstanding and pauses, by replica.
#[derive(Debug, Default)]
pub struct Load {
    work: HashMap<Slot, Work>,
    pauses: HashMap<Target, Pause>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Work {
    requests: u32,
    sequences: u32,
    tokens: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Target {
    Worker(String),
    Slot(Slot),
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Load {
    /// The replica of `route` with the least work, counted over all models of its device.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn pick<'a>(&self, route: &'a Route, demand: Demand, now: Instant) -> Result<&'a Replica, Blocked> {
        let mut blocked = Blocked::None;
        let mut best: Option<((u64, u32), &Replica)> = None;
        for replica in &route.replicas {
            let slot = Slot::of(replica);
            let own = self.work.get(&slot).copied().unwrap_or_default();
            if demand.sequence && own.sequences >= replica.sequences {
                blocked = if blocked == Blocked::Pausing { blocked } else { Blocked::Busy };
                continue;
            }
            if self.pauses(&slot, now) {
                blocked = Blocked::Pausing;
                continue;
            }
            let work = self.of_device(replica);
            let rank = (work.tokens, work.requests);
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, replica));
            }
        }
        best.map(|(_, replica)| replica).ok_or(blocked)
    }

    /// Counts a request in. Give it back with [`Load::release`].
    pub fn take(&mut self, slot: &Slot, demand: Demand) {
        let work = self.work.entry(slot.clone()).or_default();
        work.requests += 1;
        work.sequences += u32::from(demand.sequence);
        work.tokens = work.tokens.saturating_add(demand.tokens);
    }

    /// Counts a request out that was counted in with the same demand.
    pub fn release(&mut self, slot: &Slot, demand: Demand) {
        let Some(work) = self.work.get_mut(slot) else { return };
        work.requests = work.requests.saturating_sub(1);
        work.sequences = work.sequences.saturating_sub(u32::from(demand.sequence));
        work.tokens = work.tokens.saturating_sub(demand.tokens);
        if work.requests == 0 {
            self.work.remove(slot);
        }
    }

    /// Passes a replica or machine over for a moment, twice as long as the last time if it has
    /// not answered since. Returns when it is over.
    pub fn pause(&mut self, slot: &Slot, scope: Scope, now: Instant) -> Instant {
        let pause =
            self.pauses.entry(target(slot, scope)).or_insert(Pause { until: now, length: Duration::ZERO });
        // Requests that fail together are one failure.
        if pause.until <= now {
            pause.length = (pause.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            pause.until = now + pause.length;
        }
        pause.until
    }

    /// Forgets the failures of a replica that has answered.
    pub fn answered(&mut self, slot: &Slot) {
        self.pauses.remove(&target(slot, Scope::Worker));
        self.pauses.remove(&target(slot, Scope::Replica));
    }

    /// Forgets the failures of machines that are no longer routed to.
    pub fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.pauses.retain(|target, _| match target {
            Target::Worker(worker) => known(worker),
            Target::Slot(slot) => known(&slot.worker),
        });
    }

    fn pauses(&self, slot: &Slot, now: Instant) -> bool {
        [Scope::Worker, Scope::Replica]
            .into_iter()
            .any(|scope| self.pauses.get(&target(slot, scope)).is_some_and(|pause| now < pause.until))
    }

    fn of_device(&self, replica: &Replica) -> Work {
        let mut sum = Work::default();
        for (slot, work) in &self.work {
            if slot.worker == replica.worker && slot.device == replica.device {
                sum.requests += work.requests;
                sum.sequences += work.sequences;
                sum.tokens = sum.tokens.saturating_add(work.tokens);
            }
        }
        sum
    }
}

fn target(slot: &Slot, scope: Scope) -> Target {
    match scope {
        Scope::Worker => Target::Worker(slot.worker.clone()),
        Scope::Replica => Target::Slot(slot.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::routes::facts::{ModelKey, Progress, Standing};

    fn replica(worker: &str, sequences: u32) -> Replica {
        Replica {
            id: format!("uid-{worker}"),
            worker: worker.into(),
            device: "gpu".into(),
            address: format!("{worker}:9090"),
            sequences,
        }
    }

    fn route(workers: &[&str], sequences: u32) -> Route {
        Route {
            key: ModelKey { namespace: "default".into(), name: "m".into() },
            created: jiff::Timestamp::UNIX_EPOCH,
            context_tokens: 0,
            quantization: String::new(),
            standing: Standing::Pending(Progress::default()),
            replicas: workers.iter().map(|worker| replica(worker, sequences)).collect(),
        }
    }

    const SMALL: Demand = Demand { sequence: true, tokens: 10 };
    const LARGE: Demand = Demand { sequence: true, tokens: 1000 };

    #[test]
    fn the_least_tokens_win() {
        let route = route(&["a", "b"], 4);
        let now = Instant::now();
        let mut load = Load::default();
        load.take(&Slot::of(&route.replicas[0]), LARGE);
        for _ in 0..3 {
            let picked = load.pick(&route, SMALL, now).unwrap().clone();
            assert_eq!(picked.worker, "b");
            load.take(&Slot::of(&picked), SMALL);
        }
    }

    #[test]
    fn a_full_replica_is_passed_over_except_by_calls_without_a_sequence() {
        let route = route(&["a"], 1);
        let now = Instant::now();
        let mut load = Load::default();
        let only = Slot::of(&route.replicas[0]);
        load.take(&only, SMALL);
        assert_eq!(load.pick(&route, SMALL, now), Err(Blocked::Busy));
        assert!(load.pick(&route, Demand { sequence: false, tokens: 1 }, now).is_ok());
        load.release(&only, SMALL);
        assert!(load.pick(&route, SMALL, now).is_ok());
        assert!(load.work.is_empty());
    }

    #[test]
    fn pauses_grow_and_end_with_an_answer() {
        let route = route(&["a"], 1);
        let only = Slot::of(&route.replicas[0]);
        let mut load = Load::default();
        let mut now = Instant::now();
        let mut lengths = vec![];
        for _ in 0..7 {
            let until = load.pause(&only, Scope::Worker, now);
            assert_eq!(load.pick(&route, SMALL, now), Err(Blocked::Pausing));
            assert_eq!(
                load.pause(&only, Scope::Worker, now),
                until,
                "one failure, however many requests saw it"
            );
            lengths.push((until - now).as_millis());
            now = until;
            assert!(load.pick(&route, SMALL, now).is_ok());
        }
        assert_eq!(lengths, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        load.answered(&only);
        assert_eq!(load.pause(&only, Scope::Worker, now) - now, FIRST_PAUSE);
    }

    #[test]
    fn a_machine_that_cannot_be_reached_is_passed_over_for_each_model() {
        let mut first = route(&["a"], 1);
        let now = Instant::now();
        let mut load = Load::default();
        load.pause(&Slot::of(&first.replicas[0]), Scope::Worker, now);
        first.replicas[0].id = "other".into();
        assert_eq!(load.pick(&first, SMALL, now), Err(Blocked::Pausing));
    }

    #[test]
    fn nothing_there() {
        assert_eq!(Load::default().pick(&route(&[], 1), SMALL, Instant::now()), Err(Blocked::None));
    }

    proptest! {
        /// What is taken and released leaves nothing behind, and no replica ever has more
        /// sequences than it serves.
        #[test]
        fn work_is_given_back(steps in prop::collection::vec((any::<bool>(), 0..8_usize, 0..500_u64), 0..64)) {
            let route = route(&["a", "b", "c"], 2);
            let now = Instant::now();
            let mut load = Load::default();
            let mut held: Vec<(Slot, Demand)> = vec![];
            for (take, which, tokens) in steps {
                let demand = Demand { sequence: true, tokens };
                if take && let Ok(replica) = load.pick(&route, demand, now) {
                    let slot = Slot::of(replica);
                    load.take(&slot, demand);
                    held.push((slot, demand));
                } else if !take && !held.is_empty() {
                    let (slot, demand) = held.swap_remove(which % held.len());
                    load.release(&slot, demand);
                }
                prop_assert!(load.work.values().all(|work| work.sequences <= 2));
                let sum: u32 = load.work.values().map(|work| work.sequences).sum();
                prop_assert_eq!(sum as usize, held.len());
            }
            for (slot, demand) in held {
                load.release(&slot, demand);
            }
            prop_assert!(load.work.is_empty());
        }
    }
}
