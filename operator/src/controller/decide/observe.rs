//! From what was seen to what the planner is told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hearth_api::worker::{DeviceKind, DeviceStatus, ReleasePolicy, WorkerKind};
use hearth_model::WeightStorage;
use hearth_model::footprint::{DeviceKind as EngineDevice, Overheads};
use hearth_plan::{
    Device, Devices, GpuClaim, Namespaces, Release, Trouble, Worker, WorkerKind as PlanKind, WorkerState,
};
use hearth_proto::worker::v1 as wire;
use kube::ResourceExt;

use super::failures::Failures;
use crate::controller::look::{GpuOffer, LinkState, Machine, Offer, PodPhase};

/// A worker that does not answer for this long is gone: its models go elsewhere.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(10);
/// A worker that started and was never reached counts as starting for this long.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// How the engines of this version keep weights.
const WEIGHTS: WeightStorage = WeightStorage::F32;

/// What the planner is told of a machine.
pub(super) fn worker(
    name: &str,
    machine: &Machine<'_>,
    stored: BTreeSet<String>,
    idle_for: Duration,
    failures: &Failures,
    at: Instant,
) -> Worker {
    let spec = &machine.worker.spec;
    let state = state(machine, at);
    let claim = match (&machine.offer, state) {
        (Offer::Gpus(offer), WorkerState::Parked) => Some(claim(offer)),
        _ => None,
    };
    Worker {
        name: name.to_owned(),
        kind: match spec.kind {
            WorkerKind::Pod => PlanKind::Pod,
            WorkerKind::Joined => PlanKind::Joined,
        },
        state,
        closed: spec.closed,
        namespaces: match &spec.allowed_namespaces {
            None => Namespaces::All,
            Some(names) if names.iter().any(|name| name == "*") => Namespaces::All,
            Some(names) => Namespaces::Only(names.iter().cloned().collect()),
        },
        labels: machine.worker.labels().clone(),
        devices: devices(machine, state),
        gpus: claim,
        trouble: trouble(name, machine, state, failures, at),
        store_free: store_free(machine),
        stored,
        release: match spec.release.policy {
            ReleasePolicy::Never => Release::Never,
            ReleasePolicy::WhenIdle => Release::WhenIdle(spec.release.after.into()),
        },
        idle_for,
    }
}

/// Where in its life a machine is.
pub(super) fn state(machine: &Machine<'_>, at: Instant) -> WorkerState {
    let Some(pod) = &machine.pod else { return WorkerState::Parked };
    match &pod.phase {
        PodPhase::Over { .. } => WorkerState::Parked,
        // What ends is made again if something is placed there.
        PodPhase::Ending | PodPhase::Unschedulable { .. } | PodPhase::Starting { .. } => {
            WorkerState::Starting
        }
        PodPhase::Running { .. } => match machine.link {
            Some(link) if link.up => match link.last.as_ref().is_some_and(|last| last.draining) {
                true => WorkerState::Draining,
                false => WorkerState::Ready,
            },
            Some(link) => {
                let silent = at.saturating_duration_since(link.since);
                let met = link.last.is_some();
                match met {
                    true if silent < GONE_AFTER => WorkerState::Ready,
                    false if silent < STARTS_WITHIN => WorkerState::Starting,
                    _ => WorkerState::Gone,
                }
            }
            None => WorkerState::Starting,
        },
    }
}

/// When the state of a machine may change without anything being told.
pub(super) fn next_change(link: &LinkState, at: Instant) -> Option<Instant> {
    let limit = if link.last.is_some() { GONE_AFTER } else { STARTS_WITHIN };
    (!link.up).then_some(link.since + limit).filter(|then| *then > at)
}

fn claim(offer: &GpuOffer) -> GpuClaim {
    let held: u32 = offer.others.values().sum();
    let free = offer.allocatable.saturating_sub(held);
    GpuClaim {
        // All that can be had, but at least one: a machine without a GPU to
        // spare is not started.
        wanted: offer.available().max(1),
        free,
        holders: offer.others.keys().cloned().collect(),
    }
}

fn devices(machine: &Machine<'_>, state: WorkerState) -> Devices {
    let spec = &machine.worker.spec;
    let reserve = spec.reserve.bytes();
    let told =
        machine.link.and_then(|link| link.last.as_ref()).map(|last| last.devices.iter().map(from_wire));
    let remembered = machine.worker.status.iter().flat_map(|status| &status.devices).cloned();
    let mut known: Vec<DeviceStatus> = match told {
        Some(told) => told.collect(),
        None => remembered.collect(),
    };
    if known.is_empty() {
        let kind = match &machine.offer {
            Offer::Cpu => EngineDevice::Cpu,
            Offer::Gpus(_) | Offer::Nothing(_) => EngineDevice::Cuda,
        };
        return Devices::Unmeasured { kind };
    }
    known.sort_by(|a, b| a.uuid.cmp(&b.uuid));
    if let (Offer::Gpus(offer), WorkerState::Parked) = (&machine.offer, state) {
        // Which of its GPUs the Pod will get is not known before it has them.
        known.truncate(usize::try_from(offer.available().max(1)).unwrap_or(usize::MAX));
    }
    // Of a worker that is not there, nobody uses anything that we know of.
    let unhealthy = machine.pod.as_ref().map(|pod| &pod.unhealthy);
    let device = |device: DeviceStatus| {
        let by_kubelet = unhealthy.and_then(|unhealthy| unhealthy.get(&device.uuid)).cloned();
        let by_itself = (!device.healthy)
            .then(|| device.message.clone().unwrap_or_else(|| "it does not work".to_owned()));
        let kind = engine_kind(device.kind);
        Device {
            uuid: device.uuid,
            kind,
            product: device.product,
            total: device.total,
            used_by_others: device.used_by_others,
            reserve,
            failed: by_itself.or(by_kubelet),
            bandwidth: None,
            storage: WEIGHTS,
            overhead: *Overheads::DEFAULT.of(kind),
        }
    };
    Devices::Known(known.into_iter().map(device).collect())
}

/// A device as the API spells it.
pub fn from_wire(device: &wire::Device) -> DeviceStatus {
    DeviceStatus {
        uuid: device.uuid.clone(),
        kind: match device.kind() {
            wire::DeviceKind::Cuda => DeviceKind::Cuda,
            wire::DeviceKind::Metal => DeviceKind::Metal,
            wire::DeviceKind::Vulkan => DeviceKind::Vulkan,
            wire::DeviceKind::Cpu | wire::DeviceKind::Unspecified => DeviceKind::Cpu,
        },
        product: device.product.clone(),
        total: device.total_bytes,
        used_by_others: device.used_by_others_bytes,
        free: device.free_bytes,
        measured_at: None,
        healthy: device.healthy,
        message: (!device.message.is_empty()).then(|| device.message.clone()),
    }
}

fn engine_kind(kind: DeviceKind) -> EngineDevice {
    match kind {
        DeviceKind::Cuda => EngineDevice::Cuda,
        DeviceKind::Metal => EngineDevice::Metal,
        DeviceKind::Vulkan => EngineDevice::Vulkan,
        DeviceKind::Cpu => EngineDevice::Cpu,
    }
}

fn trouble(
    name: &str,
    machine: &Machine<'_>,
    state: WorkerState,
    failures: &Failures,
    at: Instant,
) -> Option<Trouble> {
    if state != WorkerState::Parked {
        return None;
    }
    if let Some((why, _)) = failures.blocked(name, at) {
        return Some(Trouble { reason: "PodFailed".to_owned(), message: why.to_owned() });
    }
    match &machine.offer {
        Offer::Nothing(why) => Some(Trouble { reason: "NodeUnavailable".to_owned(), message: why.clone() }),
        Offer::Gpus(offer) if offer.allocatable == 0 => {
            Some(Trouble { reason: "NoHealthyGpu".to_owned(), message: offer.to_string() })
        }
        Offer::Gpus(_) | Offer::Cpu => None,
    }
}

fn store_free(machine: &Machine<'_>) -> Option<u64> {
    let told = machine.link.and_then(|link| link.last.as_ref()?.store);
    let told = told.map(|store| (store.capacity_bytes, store.used_bytes));
    let remembered = || machine.worker.status.as_ref()?.store.map(|store| (store.capacity, store.used));
    let (capacity, used) = told.or_else(remembered)?;
    // A store that was never read says nothing, not that it is full.
    (capacity > 0).then(|| capacity.saturating_sub(used))
}
