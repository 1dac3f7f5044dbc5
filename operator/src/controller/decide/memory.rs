//! What rounds remember of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hearth_api::model::ReplicaStatus;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::failures::Failures;
use super::intent::FileRef;
use super::orders::Orders;
use super::setbacks::Setbacks;
use super::wake::Wakefulness;
use crate::controller::look::{Machine, Snapshot};

/// A machine with models that does not serve them holds the upgrade of others up
/// for this long: enough for a Pod that is made anew and pulls its image. One
/// that takes longer is broken in a way that waiting does not mend.
const AWAITED: Duration = Duration::from_secs(10 * 60);

/// What one round must remember of earlier ones.
#[derive(Debug, Default)]
pub struct Memory {
    /// The replicas that were last ordered, by the models' UIDs.
    pub intents: BTreeMap<String, Vec<ReplicaStatus>>,
    /// The files that they were ordered from, by the models' UIDs.
    pub files: BTreeMap<String, FileRef>,
    /// What every worker was last told to hold.
    pub orders: Orders,
    /// What went wrong with Pods.
    pub failures: Failures,
    pub(super) wakefulness: Wakefulness,
    pub(super) setbacks: Setbacks,
    idle: BTreeMap<String, Timestamp>,
    unsettled: BTreeMap<String, Instant>,
}

impl Memory {
    /// Takes over what an earlier leader wrote, for models that are not known yet.
    pub(super) fn recall(&mut self, snapshot: &Snapshot) {
        let uids: BTreeSet<String> = snapshot.living().filter_map(|model| model.uid()).collect();
        self.intents.retain(|uid, _| uids.contains(uid));
        self.files.retain(|uid, _| uids.contains(uid));
        self.wakefulness.retain(|uid| uids.contains(uid));
        self.setbacks.retain(|uid| uids.contains(uid));
        self.idle.retain(|worker, _| snapshot.workers.contains_key(worker));
        self.unsettled.retain(|worker, _| snapshot.workers.contains_key(worker));
        self.failures.retain(|worker| snapshot.workers.contains_key(worker));
        self.orders.retain(|worker| snapshot.workers.contains_key(worker));
        for model in snapshot.living() {
            let (Some(uid), Some(status)) = (model.uid(), &model.status) else { continue };
            if self.intents.contains_key(&uid) {
                continue;
            }
            self.intents.insert(uid.clone(), status.replicas.clone());
            if let Some(resolved) = &status.resolved {
                self.files.insert(uid, FileRef::recalled(resolved));
            }
        }
    }

    /// Whether a machine with models is about to serve them, so that others are
    /// not taken down meanwhile. `is_unsettled`: it does not serve them now.
    pub(super) fn is_awaited(&mut self, worker: &str, is_unsettled: bool, at: Instant) -> bool {
        if !is_unsettled {
            self.unsettled.remove(worker);
            return false;
        }
        let since = *self.unsettled.entry(worker.to_owned()).or_insert(at);
        at.saturating_duration_since(since) < AWAITED
    }

    pub(super) fn idle_for(&self, worker: &str, now: Timestamp) -> Duration {
        let since = self.idle.get(worker).copied().unwrap_or(now);
        Duration::try_from(now.duration_since(since)).unwrap_or_default()
    }

    /// Since when a machine with a Pod holds no model.
    pub(super) fn note_idleness(
        &mut self,
        worker: &str,
        placed: bool,
        machine: &Machine<'_>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if placed || machine.pod.is_none() {
            self.idle.remove(worker);
            return None;
        }
        let remembered = || machine.worker.status.as_ref()?.idle_since.as_ref().map(|time| time.0);
        Some(*self.idle.entry(worker.to_owned()).or_insert_with(|| remembered().unwrap_or(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_never_serves_again_holds_nobody_up_for_good() {
        let (mut memory, at) = (Memory::default(), Instant::now());
        assert!(memory.is_awaited("box", true, at));
        assert!(memory.is_awaited("box", true, at + AWAITED - Duration::from_secs(1)));
        assert!(!memory.is_awaited("box", true, at + AWAITED));
        assert!(!memory.is_awaited("box", false, at + AWAITED));
        assert!(memory.is_awaited("box", true, at + AWAITED), "it served in between");
    }
}
