//! Decide: what there shall be. Pure: no client, and the clock is an argument.

mod intent;
mod observe;
mod orders;
#[cfg(test)]
mod scenarios;
mod staffing;
mod verdict;
mod wake;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_api::ServedModel;
use hearth_api::model::{ModelState, ReplicaState, ReplicaStatus};
use hearth_plan::{Observed, Plan, WorkerAction, WorkerState};
use hearth_proto::worker::v1::Replica;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

pub use intent::{FileRef, replica_id};
pub use observe::from_wire;
pub use orders::{Order, Orders};
pub use staffing::{Failures, PodAction};
pub use verdict::{Verdict, key};

use super::build::{Holds, PodPlan, template_hash};
use super::config::{Config, RuntimeClassChoice};
use super::look::{Ask, Machine, PodPhase, Resolution, Snapshot};
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
    wakefulness: wake::Wakefulness,
    idle: BTreeMap<String, Timestamp>,
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
    let verdicts = verdict::verdicts(living(snapshot).map(Arc::as_ref));
    let ask = |model: &Arc<ServedModel>| {
        let uid = model.uid()?;
        // What is not accepted is not read: its URL is nobody's to fetch.
        verdicts.get(&uid)?.is_accepted().then_some(())?;
        let source = &model.spec.source;
        let status = model.status.as_ref();
        let is_current = status.and_then(|s| s.observed_generation) == model.metadata.generation;
        let pinned = status.filter(|_| is_current).and_then(|s| s.resolved.as_ref()?.revision.clone());
        let ask = Ask {
            namespace: model.namespace().unwrap_or_default(),
            uri: source.uri.clone(),
            sha256: source.sha256.clone(),
            secret: source.secret_ref.as_ref().map(|secret| secret.name.clone()),
            quantization: model.spec.quantization.clone(),
        };
        Some((uid, (ask, pinned)))
    };
    living(snapshot).filter_map(ask).collect()
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
    let verdicts = verdict::verdicts(living(snapshot).map(Arc::as_ref));

    let mut models = Vec::new();
    let mut observed = Observed::default();
    let mut again: Option<Instant> = None;
    for model in living(snapshot) {
        let Some(uid) = model.uid() else { continue };
        let mut verdict = verdicts.get(&uid).cloned().unwrap_or(Verdict::Accepted(Vec::new()));
        let resolution = resolutions.get(&uid).cloned().unwrap_or(Resolution::Reading);
        let intent = memory.intents.get(&uid).cloned().unwrap_or_default();
        let sign = sign(model, &uid, &intent, snapshot);
        let asleep = verdict.is_accepted() && memory.wakefulness.sleeps(&uid, sign, at);
        again = earlier(again, memory.wakefulness.next(&uid, sign.idle_after));
        let running = u32::try_from(intent.len()).unwrap_or(u32::MAX);
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
                Ok(known) => {
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
            &ground.config,
            at,
        ));
        again = earlier(again, machine.link.and_then(|link| observe::next_change(link, at)));
    }
    let plan = hearth_plan::plan(&observed);

    let wanted = intent::carry_out(&mut models, &plan, memory, epoch, machines.keys().copied());
    let machines = staff(memory, machines, &plan, &wanted, snapshot, ground);
    again = earlier(again, plan.recheck_after.map(|after| at + after));
    again = earlier(again, memory.failures.next(at));
    if machines
        .iter()
        .any(|m| m.machine.pod.as_ref().is_some_and(|p| matches!(p.phase, PodPhase::Unschedulable { .. })))
    {
        again = earlier(again, Some(at + Duration::from_secs(5)));
    }
    Decision { models, machines, wanted, plan, again }
}

/// What is to be done about every machine's Pod.
fn staff<'a>(
    memory: &mut Memory,
    machines: BTreeMap<&'a str, Machine<'a>>,
    plan: &Plan,
    wanted: &BTreeMap<String, Vec<Replica>>,
    snapshot: &Snapshot,
    ground: &Ground,
) -> Vec<MachineDecision<'a>> {
    let at = snapshot.at;
    let short = plan.models.iter().any(|model| model.missing > 0);
    let holds_models = |name: &str| wanted.get(name).is_some_and(|replicas| !replicas.is_empty());
    let serves = |machine: &Machine<'_>| {
        machine.pod.as_ref().is_some_and(|pod| pod.phase == PodPhase::Running { ready: true })
    };
    let mut unsettled: BTreeSet<&str> =
        machines.iter().filter(|(name, m)| holds_models(name) && !serves(m)).map(|(name, _)| *name).collect();
    let mut decisions = Vec::new();
    for (name, machine) in machines {
        let placed = holds_models(name);
        let planned = plan.worker(name).map_or(WorkerAction::Keep, |worker| worker.action.clone());
        let action = if placed { WorkerAction::Start } else { planned };
        let runtime_class = runtime_class(&machine, snapshot, &ground.config);
        let holds = machine.offer.holds();
        let hashed = holds.clone().unwrap_or(match machine.pod.as_ref().map_or(0, |pod| pod.gpus) {
            0 => Holds::Cpu,
            count => Holds::Gpus { resource: machine.worker.spec.resource_name.clone(), count },
        });
        let template = template_hash(
            &PodPlan {
                worker: name,
                node: machine.worker.spec.node_name.as_deref().unwrap_or(name),
                namespace: &ground.namespace,
                holds: &hashed,
                runtime_class: runtime_class.as_deref(),
                reserve_bytes: machine.worker.spec.reserve.bytes(),
                owner: &ground.owners.namespaced,
            },
            &ground.config,
        );
        let last = machine.link.and_then(|link| link.last.as_ref());
        let question = staffing::Question {
            worker: name,
            pod: machine.pod.as_ref(),
            offer: &machine.offer,
            action: &action,
            placed,
            busy: last.is_some_and(|last| last.replicas.iter().any(|r| r.outstanding_requests > 0)),
            sick_known: machine.pod.as_ref().is_some_and(|pod| !pod.unhealthy.is_empty())
                || last.is_some_and(|last| last.devices.iter().any(|device| !device.healthy)),
            wants_more: short,
            template: &template,
            another_rolls: unsettled.iter().any(|other| *other != name),
        };
        let action = staffing::staff(&question, &mut memory.failures, at, snapshot.now);
        if placed && matches!(action, PodAction::Delete { .. }) {
            unsettled.insert(name);
        }
        let idle_since = memory.note_idleness(name, placed, &machine, snapshot.now);
        let state = observe::state(&machine, at);
        decisions.push(MachineDecision { name, state, action, runtime_class, idle_since, machine });
    }
    decisions
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

fn runtime_class(machine: &Machine<'_>, snapshot: &Snapshot, config: &Config) -> Option<String> {
    const NVIDIA: &str = "nvidia";
    if !matches!(machine.offer.holds(), Ok(Holds::Gpus { .. }))
        && machine.pod.as_ref().is_none_or(|pod| pod.gpus == 0)
    {
        return None;
    }
    match &config.worker.runtime_class_name {
        RuntimeClassChoice::None => None,
        RuntimeClassChoice::Named(name) => Some(name.clone()),
        RuntimeClassChoice::Auto => snapshot.runtime_classes.contains(NVIDIA).then(|| NVIDIA.to_owned()),
    }
}

/// Models that are not being deleted.
fn living(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<ServedModel>> + Clone {
    snapshot.models.iter().filter(|model| model.metadata.deletion_timestamp.is_none())
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
    wake::Sign {
        idle_after: model.spec.idle_after.map(Duration::from),
        activity: snapshot.activity.get(&key).copied().unwrap_or_default(),
        ready: !intent.is_empty() && intent.iter().all(is_ready),
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

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Memory {
    /// Takes over what an earlier leader wrote, for models that are not known yet.
    fn recall(&mut self, snapshot: &Snapshot) {
        let uids: BTreeSet<String> = living(snapshot).filter_map(|model| model.uid()).collect();
        self.intents.retain(|uid, _| uids.contains(uid));
        self.files.retain(|uid, _| uids.contains(uid));
        self.wakefulness.retain(|uid| uids.contains(uid));
        self.idle.retain(|worker, _| snapshot.workers.contains_key(worker));
        for model in living(snapshot) {
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

    fn idle_for(&self, worker: &str, now: Timestamp) -> Duration {
        let since = self.idle.get(worker).copied().unwrap_or(now);
        Duration::try_from(now.duration_since(since)).unwrap_or_default()
    }

    /// Since when a machine with a Pod holds no model.
    fn note_idleness(
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
