//! Where models' files could not be loaded, and never will.

use std::collections::BTreeMap;

use hearth_api::ServedModel;
use hearth_api::model::ReplicaStatus;
use hearth_plan::Setback;
use hearth_proto::worker::v1 as wire;

use super::replica_id;
use crate::controller::look::LinkState;

/// Where models' files could not be loaded, by the models' UIDs. Forgotten when
/// the file, the spec or the worker's version is another.
#[derive(Debug, Default)]
pub(super) struct Setbacks(BTreeMap<String, Vec<Known>>);

#[derive(Debug)]
struct Known {
    file: String,
    generation: Option<i64>,
    version: String,
    setback: Setback,
}

impl Setbacks {
    /// Takes in what the workers tell of a model's replicas.
    pub(super) fn note(
        &mut self,
        uid: &str,
        model: &ServedModel,
        replicas: &[ReplicaStatus],
        links: &BTreeMap<String, LinkState>,
    ) {
        let generation = model.metadata.generation;
        let told = |worker: &str| links.get(worker).and_then(|link| link.last.as_ref());
        let known = self.0.entry(uid.to_owned()).or_default();
        known.retain(|known| {
            let is_same_worker = told(&known.setback.worker).is_none_or(|told| told.version == known.version);
            known.generation == generation && is_same_worker
        });
        for replica in replicas {
            let Some(told) = told(&replica.worker) else { continue };
            let id = replica_id(uid, replica.ordinal);
            let report = told.replicas.iter().find(|report| report.id == id);
            let Some(failure) = report.and_then(|report| setback(report, replica)) else { continue };
            let setback = Setback {
                worker: replica.worker.clone(),
                device: replica.device.clone(),
                message: failure.message.clone(),
            };
            known.retain(|known| {
                (&known.setback.worker, &known.setback.device) != (&setback.worker, &setback.device)
            });
            let (file, version) = (replica.file.clone(), told.version.clone());
            known.push(Known { file, generation, version, setback });
        }
        if known.is_empty() {
            self.0.remove(uid);
        }
    }

    /// Where a model's file can't be loaded.
    pub(super) fn of(&self, uid: &str, file: &str) -> Vec<Setback> {
        let known = self.0.get(uid).into_iter().flatten();
        known.filter(|known| known.file == file).map(|known| known.setback.clone()).collect()
    }

    /// Forgets models that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| exists(uid));
    }
}

/// The failure of a replica as it was last ordered, if it is one for good and has
/// to do with where it was loaded.
fn setback<'a>(report: &'a wire::ReplicaStatus, ordered: &ReplicaStatus) -> Option<&'a wire::Failure> {
    let fence = report.fence?;
    let is_about_this = (fence.epoch, fence.generation) >= (ordered.epoch, ordered.generation);
    let failure = report.failure.as_ref().filter(|failure| failure.permanent)?;
    // What the source does not give, or gives differently, is no better elsewhere.
    let is_of_source = failure.reason.starts_with("Source") || failure.reason == "DigestMismatch";
    let has_failed = report.state() == wire::ReplicaState::Failed;
    (is_about_this && has_failed && !is_of_source).then_some(failure)
}
