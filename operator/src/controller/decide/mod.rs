//! Decide: what there shall be. Pure: no client, and the clock is an argument.

mod failures;
mod intent;
mod machines;
mod memory;
mod observe;
mod orders;
#[cfg(test)]
mod scenarios;
mod setbacks;
mod staffing;
mod verdict;
mod wake;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_api::model::{ModelState, ReplicaState, ReplicaStatus, Resolved, Source, count};
use hearth_api::{ServedModel, ServedModelSpec};
use hearth_plan::{Observed, Plan, WorkerState};
use hearth_proto::worker::v1::{self as wire, Replica};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

pub use failures::Failures;
pub use hearth_api::model::replica_id;
pub use intent::{FileRef, withhold};
pub use memory::Memory;
pub use observe::{GONE_AFTER, from_wire};
pub use orders::{Order, Orders};
pub use staffing::PodAction;
pub use verdict::{Verdict, key};

use super::config::Config;
use super::look::{Ask, Doubt, Machine, PodPhase, Resolution, Snapshot};
use crate::controller::build::Owners;

/// What does not change while the controller runs.
#[derive(Debug, Clone)]
pub struct Ground {
    /// What the chart says.
    pub config: Config,
    /// The namespace of the release.
    pub namespace: String,
    /// Whose deletion takes everything along.
    pub owners: Owners,
}

/// What there shall be.
#[derive(Debug)]
pub struct Decision<'a> {
    /// Every ServedModel.
    pub models: Vec<ModelDecision>,
    /// Every machine of kind Pod.
    pub machines: Vec<MachineDecision<'a>>,
    /// What every worker shall hold.
    pub wanted: BTreeMap<String, Vec<Replica>>,
    /// The plan.
    pub plan: Plan,
    /// When to look again even if nothing is told.
    pub again: Option<Instant>,
}

/// What becomes of a ServedModel.
#[derive(Debug)]
pub struct ModelDecision {
    /// The model.
    pub model: Arc<ServedModel>,
    /// Its UID.
    pub uid: String,
    /// Whether its spec is taken up.
    pub verdict: Verdict,
    /// How far its file is known.
    pub resolution: Resolution,
    /// Unloaded because nobody asked for it.
    pub asleep: bool,
    /// How many replicas are wanted now.
    pub wanted: u32,
    /// Its replicas, without what their workers tell.
    pub replicas: Vec<ReplicaStatus>,
}

/// What becomes of a machine.
#[derive(Debug)]
pub struct MachineDecision<'a> {
    /// The Worker's name.
    pub name: &'a str,
    /// What was seen of it.
    pub machine: Machine<'a>,
    /// Where in its life it is.
    pub state: WorkerState,
    /// What to do about its Pod.
    pub action: PodAction,
    /// The RuntimeClass of a Pod that is made now.
    pub runtime_class: Option<String>,
    /// Since when it holds no model.
    pub idle_since: Option<Timestamp>,
}

/// The questions about the models' files, by UID, with the revision that was
/// answered before this process began.
pub fn asks(snapshot: &Snapshot) -> BTreeMap<String, (Ask, Option<String>)> {
    let verdicts = verdict::verdicts(snapshot.living().map(Arc::as_ref));
    let ask = |model: &Arc<ServedModel>| {
        let uid = model.uid()?;
        // What is not accepted is not read: its URL is nobody's to fetch.
        verdicts.get(&uid)?.is_accepted().then_some(())?;
        let source = &model.spec.source;
        let status = model.status.as_ref();
        let resolved = status.and_then(|status| status.resolved.as_ref());
        let pinned =
            resolved.filter(|resolved| answers(resolved, &model.spec)).and_then(|r| r.revision.clone());
        let ask = Ask {
            namespace: model.namespace().unwrap_or_default(),
            uri: source.uri.clone(),
            sha256: source.sha256.clone(),
            secret: source.secret_ref.as_ref().map(|secret| secret.name.clone()),
            quantization: model.spec.quantization.clone(),
        };
        Some((uid, (ask, pinned)))
    };
    snapshot.living().filter_map(ask).collect()
}

/// Whether what was found out answers what a spec asks now, whatever else of it was
/// edited since: then the same is served on, though a branch may have moved.
fn answers(resolved: &Resolved, spec: &ServedModelSpec) -> bool {
    let Source { uri, sha256, secret_ref: _ } = &spec.source;
    let fits = |asked: &str, found: &Option<String>| {
        found.as_deref().is_some_and(|found| found.eq_ignore_ascii_case(asked))
    };
    resolved.uri == *uri
        && sha256.as_deref().is_none_or(|asked| fits(asked, &resolved.digest))
        && (spec.quantization == "Auto" || fits(&spec.quantization, &resolved.quantization))
}

/// What workers met that does not fit with what was found out about the models'
/// files, by UID.
pub fn doubts(snapshot: &Snapshot) -> BTreeSet<(&str, Doubt)> {
    let links = snapshot.links.values().filter_map(|link| link.last.as_ref());
    let replicas: Vec<(&str, &wire::ReplicaStatus)> = links
        .flat_map(|told| &told.replicas)
        .filter_map(|replica| Some((intent::uid_of(&replica.id)?, replica)))
        .collect();
    let serves =
        |uid: &str| replicas.iter().any(|(u, r)| *u == uid && r.state() == wire::ReplicaState::Ready);
    let doubt = |(uid, replica): &(&'_ str, &wire::ReplicaStatus)| {
        match replica.failure.as_ref()?.reason.as_str() {
            // A source may deny that there is what it does not want to give.
            "SourceUnauthorized" | "SourceNotFound" => Some(Doubt::Credential),
            // What serves is not ended because its source moved on.
            "SourceChanged" if !serves(uid) => Some(Doubt::Version),
            _ => None,
        }
    };
    replicas.iter().filter_map(|replica| Some((replica.0, doubt(replica)?))).collect()
}

/// Decides one round.
pub fn decide<'a>(
    memory: &mut Memory,
    snapshot: &'a Snapshot,
    resolutions: &BTreeMap<String, Resolution>,
    ground: &Ground,
    epoch: u64,
) -> Decision<'a> {
    let at = snapshot.at;
    let machines = Machine::all(snapshot, &ground.config, &ground.namespace);
    memory.recall(snapshot);
    let verdicts = verdict::verdicts(snapshot.living().map(Arc::as_ref));

    let mut models = Vec::new();
    let mut observed = Observed::default();
    let mut again: Option<Instant> = None;
    for model in snapshot.living() {
        let Some(uid) = model.uid() else { continue };
        let mut verdict = verdicts.get(&uid).cloned().unwrap_or(Verdict::Accepted(Vec::new()));
        let resolution = resolutions.get(&uid).cloned().unwrap_or(Resolution::Reading);
        let intent = memory.intents.get(&uid).cloned().unwrap_or_default();
        let sign = sign(model, &uid, &intent, snapshot);
        let asleep = verdict.is_accepted() && memory.wakefulness.sleeps(&uid, sign, at);
        // What is refused was not asked whether it sleeps: its time stands still.
        if verdict.is_accepted() {
            again = earlier(at, again, memory.wakefulness.next(&uid, sign));
        }
        let running = u32::try_from(count(&intent, |_| true)).unwrap_or(u32::MAX);
        let asked = u32::try_from(model.spec.replicas).unwrap_or(0);
        let wanted = match (verdict.is_accepted(), asleep) {
            (true, false) => asked,
            (true, true) => 0,
            // What a refused spec asks for is not looked at.
            (false, _) => running,
        };
        let mut planned = None;
        if let (true, Resolution::Known(found)) = (verdict.is_accepted(), &resolution) {
            match verdict::known(model, found, wanted, &intent) {
                Ok(mut known) => {
                    memory.setbacks.note(&uid, model, &intent, &snapshot.links);
                    if let hearth_plan::Resolution::Resolved(file) = &known.file {
                        known.setbacks = memory.setbacks.of(&uid, &file.id);
                    }
                    planned = Some(known);
                    memory.files.insert(uid.clone(), FileRef::of(found));
                }
                Err(refused) => verdict = refused,
            }
        }
        observed.models.push(planned.unwrap_or_else(|| {
            // Not accepted or not known: nothing is loaded, and nothing that runs is disturbed.
            verdict::unknown(model, running.min(wanted), &intent, why(&verdict, &resolution))
        }));
        models.push(ModelDecision {
            model: model.clone(),
            uid,
            verdict,
            resolution,
            asleep,
            wanted,
            replicas: intent,
        });
    }

    for (name, machine) in &machines {
        let idle = memory.idle_for(name, snapshot.now);
        let stored = stored(name, &models);
        observed.workers.push(observe::worker(
            name,
            machine,
            stored,
            idle,
            &memory.failures,
            at,
            snapshot.now,
        ));
        again = earlier(at, again, machine.link.and_then(|link| observe::next_change(link, at)));
    }
    let plan = hearth_plan::plan(&observed);

    let wanted = intent::carry_out(&mut models, &plan, memory, epoch, machines.keys().copied());
    let machines = machines::staff(memory, machines, &plan, &wanted, snapshot, ground);
    again = earlier(at, again, plan.recheck_after.map(|after| at + after));
    again = earlier(at, again, memory.failures.next(at));
    if machines
        .iter()
        .any(|m| m.machine.pod.as_ref().is_some_and(|p| matches!(p.phase, PodPhase::Unschedulable { .. })))
    {
        again = earlier(at, again, Some(at + Duration::from_secs(5)));
    }
    Decision { models, machines, wanted, plan, again }
}

/// Why a model's memory is not known, for whoever reads why it has no place.
fn why(verdict: &Verdict, resolution: &Resolution) -> String {
    match (verdict, resolution) {
        (Verdict::Invalid(message) | Verdict::ContextOutOfRange(message), _) => message.clone(),
        (Verdict::NameTaken { owner, .. }, _) => format!("its served name belongs to {owner}"),
        (Verdict::Accepted(_), Resolution::Refused(refusal)) => refusal.message.clone(),
        (Verdict::Accepted(_), _) => "its file's header is being read".to_owned(),
    }
}

fn sign(model: &ServedModel, uid: &str, intent: &[ReplicaStatus], snapshot: &Snapshot) -> wake::Sign {
    let key = (model.namespace().unwrap_or_default(), model.name_any());
    let is_ready = |replica: &ReplicaStatus| {
        let mut told = replica.clone();
        super::tell::replica(
            &mut told,
            &replica_id(uid, replica.ordinal),
            snapshot.links.get(&replica.worker),
            snapshot.at,
        );
        told.state == ReplicaState::Ready
    };
    let is_busy = |replica: &ReplicaStatus| {
        let id = replica_id(uid, replica.ordinal);
        let told = snapshot.links.get(&replica.worker).filter(|link| link.up);
        let told = told.and_then(|link| link.last.as_ref()?.replicas.iter().find(|told| told.id == id));
        told.is_some_and(|told| told.outstanding_requests > 0)
    };
    wake::Sign {
        idle_after: model.spec.idle_after.map(Duration::from),
        activity: snapshot.activity.get(&key).copied().unwrap_or_default(),
        heard: snapshot.heard,
        busy: intent.iter().any(is_busy),
        ready: !intent.is_empty() && count(intent, is_ready) == count(intent, |_| true),
        slept: model.status.as_ref().is_some_and(|s| s.state == Some(ModelState::Stopped))
            && model.spec.replicas > 0,
    }
}

/// Files that a worker has fetched, as far as its replicas show.
fn stored(worker: &str, models: &[ModelDecision]) -> BTreeSet<String> {
    let there = |replica: &&ReplicaStatus| {
        let is_fetched = !matches!(replica.state, ReplicaState::Pending | ReplicaState::Fetching);
        replica.worker == worker && is_fetched
    };
    models.iter().flat_map(|m| m.replicas.iter().filter(there)).map(|replica| replica.file.clone()).collect()
}

/// The earlier of two moments. One that has come is no reason to look again:
/// this round looked.
fn earlier(at: Instant, a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b.filter(|b| *b > at)) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
