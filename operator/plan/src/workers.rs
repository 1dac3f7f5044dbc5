//! Which machines are started and which are given back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    decision::{ModelPlan, WorkerAction, WorkerPlan},
    observed::{Model, Release, Worker, WorkerKind, WorkerState},
};

/// What to do with every Worker, and when to look again. `aims` are Workers that
/// replicas would move to if they ran.
pub(crate) fn workers(
    workers: &[&Worker],
    observed: &[&Model],
    planned: &[ModelPlan],
    aims: &BTreeSet<&str>,
) -> (Vec<WorkerPlan>, Option<Duration>) {
    let mut placed: BTreeMap<&str, u32> = BTreeMap::new();
    for replica in planned.iter().flat_map(|m| m.replicas.iter().chain(&m.lingering)) {
        *placed.entry(&replica.worker).or_default() += 1;
    }
    let measured = |name: &str| planned.iter().any(|m| m.measuring.iter().any(|w| w == name));
    let holds = |name: &str| observed.iter().any(|m| m.current.iter().any(|r| r.worker == name));
    let mut recheck = None;
    let plans = workers
        .iter()
        .map(|worker| {
            let replicas = placed.get(worker.name.as_str()).copied().unwrap_or_default();
            let need = match replicas {
                0 if aims.contains(worker.name.as_str()) => Need::Serve,
                0 if measured(&worker.name) => Need::Measure,
                0 => Need::None,
                _ => Need::Serve,
            };
            let (action, after) = action(worker, need, holds(&worker.name));
            recheck = recheck.into_iter().chain(after).min();
            WorkerPlan { name: worker.name.clone(), action, replicas }
        })
        .collect();
    (plans, recheck)
}

#[derive(Clone, Copy)]
enum Need {
    None,
    Measure,
    Serve,
}

fn action(worker: &Worker, need: Need, holds: bool) -> (WorkerAction, Option<Duration>) {
    let running = match (worker.kind, worker.state) {
        (WorkerKind::Joined, _) | (_, WorkerState::Draining | WorkerState::Gone) => {
            return (WorkerAction::Keep, None);
        }
        (WorkerKind::Pod, WorkerState::Parked) => false,
        (WorkerKind::Pod, WorkerState::Starting | WorkerState::Ready) => true,
    };
    match (need, running) {
        (Need::Serve, false) => (WorkerAction::Start, None),
        (Need::Measure, false) => (WorkerAction::StartToMeasure, None),
        (Need::Serve | Need::Measure, true) | (Need::None, false) => (WorkerAction::Keep, None),
        // What it still holds ends with this plan; the next one ends the process.
        (Need::None, true) if holds => (WorkerAction::Keep, None),
        (Need::None, true) if worker.closed => (WorkerAction::ParkClosed, None),
        (Need::None, true) if worker.trouble.is_some() => (WorkerAction::ParkTroubled, None),
        (Need::None, true) => match worker.release {
            Release::Never => (WorkerAction::Keep, None),
            Release::WhenIdle(after) => match after.checked_sub(worker.idle_for) {
                None | Some(Duration::ZERO) => (WorkerAction::ParkIdle, None),
                Some(rest) => (WorkerAction::Keep, Some(rest)),
            },
        },
    }
}
