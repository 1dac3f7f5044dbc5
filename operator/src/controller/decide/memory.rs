//! What rounds remember of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hearth_api::model::ReplicaStatus;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::failures::Failures;
use super::intent::FileRef;
use super::orders::Orders;
use super::wake::Wakefulness;
use crate::controller::look::{Machine, Snapshot};

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
    idle: BTreeMap<String, Timestamp>,
}

impl Memory {
    /// Takes over what an earlier leader wrote, for models that are not known yet.
    pub(super) fn recall(&mut self, snapshot: &Snapshot) {
        let uids: BTreeSet<String> = snapshot.living().filter_map(|model| model.uid()).collect();
        self.intents.retain(|uid, _| uids.contains(uid));
        self.files.retain(|uid, _| uids.contains(uid));
        self.wakefulness.retain(|uid| uids.contains(uid));
        self.idle.retain(|worker, _| snapshot.workers.contains_key(worker));
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
