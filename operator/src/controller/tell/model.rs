//! A ServedModel's status, from what was decided and what the workers tell.

use std::collections::BTreeMap;
use std::time::Instant;

use hearth_api::condition::{ModelReason, Status, Update, model as conditions, set_condition};
use hearth_api::model::{
    ModelState, RejectedGroup, ReplicaState, ReplicaStatus, Resolved, ServedModelStatus, Summary, count,
};
use hearth_model::Footprint;
use hearth_plan::{ModelPlan, human};
use k8s_openapi::jiff::Timestamp;

use super::{bound, replica};
use crate::controller::decide::{ModelDecision, Verdict, replica_id};
use crate::controller::look::{LinkState, Resolution};

/// The status of a model. `before`: as it stands, whose transition times and
/// resolved file are kept where nothing changed.
pub fn status(
    decision: &ModelDecision,
    plan: Option<&ModelPlan>,
    before: &ServedModelStatus,
    links: &BTreeMap<String, LinkState>,
    at: Instant,
    now: Timestamp,
) -> ServedModelStatus {
    let mut replicas = decision.replicas.clone();
    let mut footprint: Option<Footprint> = None;
    for told in &mut replicas {
        let (id, link) = (replica_id(&decision.uid, told.ordinal), links.get(&told.worker));
        replica::tell(told, &id, link, at);
        let taken = replica::taken(told, &id, link, at);
        footprint = footprint.into_iter().chain([taken]).max_by_key(Footprint::total);
    }
    let groups = plan
        .filter(|plan| plan.missing > 0)
        .map(|plan| hearth_plan::group(&plan.rejected))
        .unwrap_or_default();
    let rejected: Vec<RejectedGroup> = groups
        .into_iter()
        .map(|group| RejectedGroup {
            reason: group.reason.to_owned(),
            count: group.count,
            best: group.best.to_string(),
            message: group.message,
        })
        .collect();
    let ready = count(&replicas, |replica| replica.state == ReplicaState::Ready);
    let view = View { decision, plan, replicas: &replicas, rejected: &rejected, ready, footprint };
    let generation = decision.model.metadata.generation;
    let mut status = ServedModelStatus {
        observed_generation: generation,
        conditions: before.conditions.clone(),
        state: Some(view.state()),
        resolved: view.resolved(before.resolved.as_ref()),
        footprint: footprint.as_ref().map(super::footprint),
        ready_replicas: i32::try_from(ready).unwrap_or(i32::MAX),
        selector: Some(format!("hearth.dev/model={}", decision.uid)),
        summary: Some(view.summary()),
        rejected: rejected.clone(),
        replicas: replicas.clone(),
    };
    for update in [view.accepted(), view.is_resolved(), view.placed(), view.is_ready()] {
        set_condition(&mut status.conditions, update, generation, now);
    }
    bound::model(&mut status);
    status
}

struct View<'a> {
    decision: &'a ModelDecision,
    plan: Option<&'a ModelPlan>,
    replicas: &'a [ReplicaStatus],
    rejected: &'a [RejectedGroup],
    ready: usize,
    footprint: Option<Footprint>,
}

impl View<'_> {
    fn wanted(&self) -> usize {
        usize::try_from(self.decision.wanted).unwrap_or(0)
    }

    fn any(&self, state: ReplicaState) -> Option<&ReplicaStatus> {
        self.replicas.iter().find(|replica| replica.state == state)
    }

    fn state(&self) -> ModelState {
        if self.ready > 0 {
            return ModelState::Ready;
        }
        if !self.decision.verdict.is_accepted() && self.replicas.is_empty() {
            return ModelState::Invalid;
        }
        if self.wanted() == 0 && self.replicas.is_empty() {
            return ModelState::Stopped;
        }
        if self.replicas.is_empty() {
            return match (&self.decision.resolution, self.plan) {
                (Resolution::Reading, _) => ModelState::Resolving,
                (Resolution::Refused(refusal), _) if refusal.passes => ModelState::Resolving,
                (Resolution::Refused(_), _) => ModelState::Failed,
                (Resolution::Known(_), Some(plan)) if !plan.measuring.is_empty() => ModelState::Starting,
                (Resolution::Known(_), _) => ModelState::Waiting,
            };
        }
        if self.any(ReplicaState::Warming).or(self.any(ReplicaState::Loading)).is_some() {
            ModelState::Loading
        } else if self.any(ReplicaState::Fetching).is_some() {
            ModelState::Fetching
        } else if self.any(ReplicaState::Failed).is_some() {
            ModelState::Failed
        } else {
            ModelState::Starting
        }
    }

    fn accepted(&self) -> Update {
        let no =
            |reason: ModelReason, message: String| Update::new(conditions::ACCEPTED, false, reason, message);
        match &self.decision.verdict {
            Verdict::Accepted(idle) if idle.is_empty() => {
                Update::new(conditions::ACCEPTED, true, ModelReason::Valid, "the spec makes sense")
            }
            Verdict::Accepted(idle) => {
                let message = format!("without effect in this version: {}", idle.join(", "));
                Update::new(conditions::ACCEPTED, true, ModelReason::PartlyWithoutEffect, message)
            }
            Verdict::Invalid(message) => no(ModelReason::InvalidSpec, message.clone()),
            Verdict::ContextOutOfRange(message) => no(ModelReason::ContextOutOfRange, message.clone()),
            Verdict::NameTaken { name, owner } => no(
                ModelReason::NameTaken,
                format!(
                    "the served name {name:?} belongs to {owner}, which is older; set another in spec.servedName"
                ),
            ),
        }
    }

    fn is_resolved(&self) -> Update {
        const TYPE: &str = conditions::RESOLVED;
        match &self.decision.resolution {
            // What is not accepted is not read; what was read before stays true.
            _ if matches!(self.decision.verdict, Verdict::Invalid(_) | Verdict::NameTaken { .. }) => {
                Update::new(
                    TYPE,
                    Status::Unknown,
                    ModelReason::Waiting,
                    "the file is read once the spec is accepted",
                )
            }
            Resolution::Reading => {
                Update::new(TYPE, Status::Unknown, ModelReason::Resolving, "the file's header is being read")
            }
            Resolution::Known(found) => {
                let size = human(found.size);
                let message = format!("{} {}, {size}", found.architecture, found.quantization);
                Update::new(TYPE, true, ModelReason::HeaderRead, message)
            }
            Resolution::Refused(refusal) => Update {
                type_: TYPE,
                status: Status::False,
                reason: refusal.reason.to_owned(),
                message: refusal.message.clone(),
            },
        }
    }

    fn placed(&self) -> Update {
        const TYPE: &str = conditions::PLACED;
        let no = |reason: ModelReason, message: String| Update::new(TYPE, false, reason, message);
        if self.wanted() == 0 && self.replicas.is_empty() {
            return no(ModelReason::ScaledToZero, self.stopped());
        }
        let placed = count(self.replicas, |_| true);
        let workers = self.workers();
        if placed >= self.wanted() && placed > 0 {
            return Update::new(TYPE, true, ModelReason::EveryReplica, format!("on {workers}"));
        }
        let is_known =
            self.decision.verdict.is_accepted() && matches!(self.decision.resolution, Resolution::Known(_));
        let Some(plan) = self.plan.filter(|_| is_known) else {
            return Update::new(
                TYPE,
                Status::Unknown,
                ModelReason::Waiting,
                "it is placed once its spec is accepted and its file's header was read",
            );
        };
        let why = match self.rejected.first() {
            Some(first) => first.message.clone(),
            None => "there is no Worker: no node offers GPUs; name nodes in the chart's cpuNodes to serve with their CPU".to_owned(),
        };
        match (placed, plan.measuring.as_slice()) {
            (0, []) => no(ModelReason::NoCandidate, why),
            (0, measuring) => {
                no(ModelReason::Measuring, format!("{} starts, to learn its memory", measuring.join(", ")))
            }
            _ => no(ModelReason::SomeReplicas, format!("{placed} of {} on {workers}; {why}", self.wanted())),
        }
    }

    fn is_ready(&self) -> Update {
        const TYPE: &str = conditions::READY;
        let no = |reason: ModelReason, message: String| Update::new(TYPE, false, reason, message);
        if self.ready > 0 && self.ready >= self.wanted() {
            return Update::new(TYPE, true, ModelReason::Serving, format!("answering on {}", self.workers()));
        }
        if self.wanted() == 0 && self.replicas.is_empty() {
            return no(ModelReason::ScaledToZero, self.stopped());
        }
        let some = match self.ready {
            0 => String::new(),
            ready => format!("{ready} of {} ready; ", self.wanted()),
        };
        let message = |replica: &ReplicaStatus, what: &str| match &replica.message {
            Some(told) => format!("{some}{what} on {}: {told}", replica.worker),
            None => format!("{some}{what} on {}", replica.worker),
        };
        // What the worker says of a failure is more than we know.
        let told = |replica: &ReplicaStatus, otherwise: ModelReason, what: &str| Update {
            type_: TYPE,
            status: Status::False,
            reason: replica.reason.clone().unwrap_or_else(|| otherwise.as_str().to_owned()),
            message: message(replica, what),
        };
        if let Some(replica) = self.any(ReplicaState::Failed) {
            return told(replica, ModelReason::LoadFailed, "the load failed");
        }
        if let Some(replica) = self.any(ReplicaState::Warming).or(self.any(ReplicaState::Loading)) {
            return no(ModelReason::Loading, message(replica, "the weights go to the device"));
        }
        if let Some(replica) = self.any(ReplicaState::Fetching) {
            return no(ModelReason::Fetching, message(replica, "the file is on the way"));
        }
        match self.any(ReplicaState::Pending).or(self.any(ReplicaState::Draining)) {
            Some(replica) => told(replica, ModelReason::WorkerStarting, "it is to be loaded"),
            None => no(ModelReason::Waiting, "it has no device yet; see the condition Placed".to_owned()),
        }
    }

    fn stopped(&self) -> String {
        match self.decision.asleep {
            true => "nobody asked for it for spec.idleAfter; the next request loads it".to_owned(),
            false => "spec.replicas is 0".to_owned(),
        }
    }

    fn workers(&self) -> String {
        let mut workers: Vec<&str> = self.replicas.iter().map(|replica| replica.worker.as_str()).collect();
        workers.sort_unstable();
        workers.dedup();
        workers.join(",")
    }

    fn resolved(&self, before: Option<&Resolved>) -> Option<Resolved> {
        let context = self.replicas.iter().map(|replica| replica.context).min();
        // What is refused was not ordered: what runs is of the file that stands here,
        // and here the next leader reads which that was.
        let is_ordered = self.decision.verdict.is_accepted() || self.replicas.is_empty();
        let found = match &self.decision.resolution {
            Resolution::Known(found) if is_ordered => found,
            // While the header is read anew, what is served is what was known.
            _ => return before.cloned().map(|resolved| Resolved { context, ..resolved }),
        };
        Some(Resolved {
            uri: self.decision.model.spec.source.uri.clone(),
            url: found.url.clone(),
            revision: found.revision.clone(),
            digest: found.sha256.clone(),
            size_bytes: Some(found.size),
            architecture: Some(found.architecture.clone()),
            quantization: Some(found.quantization.clone()),
            context,
            model_context: Some(found.dims.context_length),
        })
    }

    fn summary(&self) -> Summary {
        Summary {
            model: short_name(&self.decision.model.spec.source.uri),
            replicas: format!("{}/{}", self.ready, self.wanted()),
            worker: self.workers(),
            memory: self.footprint.map(|footprint| human(footprint.total())).unwrap_or_default(),
        }
    }
}

/// The file's name without its ending, else the last part of the URI.
fn short_name(uri: &str) -> String {
    let path = uri.split_once("://").map_or(uri, |(_, path)| path);
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let path = path.split('@').next().unwrap_or(path);
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".gguf").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_after_its_file() {
        assert_eq!(short_name("hf://owner/repo/SmolLM2.Q4_1.gguf@main"), "SmolLM2.Q4_1");
        assert_eq!(short_name("hf://owner/Repo-GGUF"), "Repo-GGUF");
        assert_eq!(short_name("https://host/a/b.gguf?token=1"), "b");
    }
}
