//! From the plan to what is done about every machine's Pod.

use std::collections::BTreeMap;

use hearth_plan::{Plan, WorkerAction};
use hearth_proto::worker::v1::Replica;

use super::staffing::{self, PodAction};
use super::{Ground, MachineDecision, Memory, observe};
use crate::controller::build::{Holds, PodPlan, template_hash};
use crate::controller::config::{Config, RuntimeClassChoice};
use crate::controller::look::{Machine, PodPhase, Snapshot};

/// What is to be done about every machine's Pod.
pub(super) fn staff<'a>(
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
    let mut unsettled: BTreeMap<&str, bool> =
        machines.iter().map(|(name, m)| (*name, holds_models(name) && !serves(m))).collect();
    unsettled.retain(|name, is_unsettled| memory.is_awaited(name, *is_unsettled, at));
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
                store_bytes: machine.worker.spec.store.size.bytes(),
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
            another_rolls: unsettled.keys().any(|other| *other != name),
        };
        let action = staffing::staff(&question, &mut memory.failures, at, snapshot.now);
        if placed && matches!(action, PodAction::Delete { .. }) {
            unsettled.insert(name, true);
        }
        let idle_since = memory.note_idleness(name, placed, &machine, snapshot.now);
        let state = observe::state(&machine, at, snapshot.now);
        decisions.push(MachineDecision { name, state, action, runtime_class, idle_since, machine });
    }
    decisions
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
