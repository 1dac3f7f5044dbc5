//! From a plan to what every worker is told to hold, and what status says of it.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_api::model::{KvType, ReplicaState, ReplicaStatus, Resolved, replica_id};
use hearth_plan::{Change, Plan, ReplicaPlan};
use hearth_proto::worker::v1 as wire;
use kube::ResourceExt;

use super::verdict::{file_id, key};
use super::{Memory, ModelDecision};
use crate::controller::look::{Found, Token};
use crate::controller::tell;

/// Bytes a second that a load may count on beyond its own timeout.
const SLOWEST: u64 = 4 << 20;

/// What a worker needs to know of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// What tells it from every other file.
    pub id: String,
    url: String,
    revision: String,
    sha256: String,
    size: u64,
    token: Option<Token>,
}

impl FileRef {
    /// A file whose header was read.
    pub fn of(found: &Found) -> Self {
        Self {
            id: file_id(&found.url, found.sha256.as_deref()),
            url: found.url.clone(),
            revision: found.revision.clone().unwrap_or_default(),
            sha256: found.sha256.clone().unwrap_or_default(),
            size: found.size,
            token: found.token.clone(),
        }
    }

    /// A file that an earlier leader resolved. Its token is not known: a worker
    /// that has the file needs none, and one that lacks it waits until the
    /// header was read anew.
    pub fn recalled(resolved: &Resolved) -> Self {
        Self {
            id: file_id(&resolved.url, resolved.digest.as_deref()),
            url: resolved.url.clone(),
            revision: resolved.revision.clone().unwrap_or_default(),
            sha256: resolved.digest.clone().unwrap_or_default(),
            size: resolved.size_bytes.unwrap_or(0),
            token: None,
        }
    }

    fn wire(&self) -> wire::ModelFile {
        wire::ModelFile {
            url: self.url.clone(),
            sha256: self.sha256.clone(),
            size_bytes: self.size,
            bearer_token: self.token.as_ref().map(|token| token.0.clone()).unwrap_or_default(),
            revision: self.revision.clone(),
        }
    }
}

/// The model's UID in a replica's name on the wire.
pub(super) fn uid_of(id: &str) -> Option<&str> {
    id.rsplit_once('-').map(|(uid, _)| uid)
}

/// Puts the plan into the models' replicas and gives what every worker shall hold.
pub(super) fn carry_out<'a>(
    models: &mut [ModelDecision],
    plan: &Plan,
    memory: &Memory,
    epoch: u64,
    workers: impl Iterator<Item = &'a str>,
) -> BTreeMap<String, Vec<wire::Replica>> {
    let mut wanted: BTreeMap<String, Vec<wire::Replica>> =
        workers.map(|worker| (worker.to_owned(), Vec::new())).collect();
    for model in models.iter_mut() {
        let before = std::mem::take(&mut model.replicas);
        model.replicas = match plan.model(&key(&model.model)) {
            Some(planned) => {
                let file = memory.files.get(&model.uid).map(|file| file.id.as_str()).unwrap_or_default();
                let all = planned.replicas.iter().chain(&planned.lingering);
                all.map(|replica| status(replica, &before, model, file)).collect()
            }
            // Every model is planned.
            None => before,
        };
        for replica in &model.replicas {
            let Some(on_worker) = wanted.get_mut(&replica.worker) else { continue };
            on_worker.extend(on_wire(replica, model, memory));
        }
    }
    for model in models.iter_mut() {
        let before = memory.intents.get(&model.uid).map(Vec::as_slice).unwrap_or_default();
        for replica in &mut model.replicas {
            let is_same = |old: &&ReplicaStatus| is_same_order(old, replica);
            match before.iter().find(is_same).filter(|old| old.epoch > 0) {
                Some(old) => (replica.epoch, replica.generation) = (old.epoch, old.generation),
                None => {
                    let on_worker = wanted.get(&replica.worker).map(Vec::as_slice).unwrap_or_default();
                    let fence = memory.orders.next_fence(epoch, &replica.worker, on_worker);
                    (replica.epoch, replica.generation) = (fence.epoch, fence.generation);
                }
            }
        }
    }
    wanted
}

/// Takes out of `wanted` the workers that must keep their last order: those that
/// hold or would hold a replica of a model whose intent could not be written, so
/// that no worker loads or unloads what status does not tell. `intents` are as
/// they were last written, `standing` the UIDs of the models whose intent was.
pub fn withhold(
    wanted: &mut BTreeMap<String, Vec<wire::Replica>>,
    models: &[ModelDecision],
    intents: &BTreeMap<String, Vec<ReplicaStatus>>,
    standing: &[String],
) {
    for model in models.iter().filter(|model| !standing.contains(&model.uid)) {
        for replica in intents.get(&model.uid).into_iter().flatten().chain(&model.replicas) {
            wanted.remove(&replica.worker);
        }
    }
}

/// Whether two replicas ask the same of a worker.
fn is_same_order(a: &ReplicaStatus, b: &ReplicaStatus) -> bool {
    a.ordinal == b.ordinal
        && a.worker == b.worker
        && a.device == b.device
        && a.context == b.context
        && a.sequences == b.sequences
        && a.kv_type == b.kv_type
        && a.file == b.file
}

fn status(
    planned: &ReplicaPlan,
    before: &[ReplicaStatus],
    model: &ModelDecision,
    file: &str,
) -> ReplicaStatus {
    let kept = before.iter().find(|old| old.ordinal == planned.ordinal);
    if let (Change::Keep, Some(kept)) = (&planned.change, kept) {
        return ReplicaStatus { replaces: planned.replaces, ..kept.clone() };
    }
    ReplicaStatus {
        ordinal: planned.ordinal,
        worker: planned.worker.clone(),
        device: planned.device.clone(),
        context: planned.context,
        sequences: model.model.spec.sequences,
        kv_type: KvType::F16,
        file: file.to_owned(),
        footprint: tell::footprint(&planned.footprint),
        epoch: 0,
        generation: 0,
        state: ReplicaState::Pending,
        replaces: planned.replaces,
        progress: None,
        reason: None,
        message: None,
    }
}

/// A replica as its worker is told. `None` if its file is no longer known,
/// which cannot be for one that was planned in this round.
fn on_wire(replica: &ReplicaStatus, model: &ModelDecision, memory: &Memory) -> Option<wire::Replica> {
    let id = replica_id(&model.uid, replica.ordinal);
    let known = memory.files.get(&model.uid).filter(|file| file.id == replica.file);
    let Some(file) = known else {
        // It was ordered from a file that the spec no longer names, and stays.
        return memory.orders.replica(&replica.worker, &id).cloned();
    };
    let floor = Duration::from(model.model.spec.load_timeout);
    let timeout = floor + Duration::from_secs(file.size / SLOWEST);
    Some(wire::Replica {
        id,
        namespace: model.model.namespace().unwrap_or_default(),
        name: model.model.name_any(),
        served_name: model.model.served_name().to_owned(),
        file: Some(file.wire()),
        device_uuid: replica.device.clone(),
        context_tokens: replica.context,
        sequences: replica.sequences,
        kv_type: match replica.kv_type {
            KvType::F16 => wire::KvType::F16,
            KvType::Q8_0 => wire::KvType::Q80,
        }
        .into(),
        footprint: Some(wire::Footprint {
            weights: replica.footprint.weights,
            kv: replica.footprint.kv,
            activations: replica.footprint.activations,
            overhead: replica.footprint.overhead,
        }),
        load_timeout: prost_types::Duration::try_from(timeout).ok(),
    })
}
