//! From what was seen to what the planner is told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hearth_api::validation;
use hearth_api::worker::{DeviceKind, DeviceStatus, ReleasePolicy, WeightStorage as Weights, WorkerKind};
use hearth_model::WeightStorage;
use hearth_model::footprint::{DeviceKind as EngineDevice, Overheads};
use hearth_plan::{
    Device, Devices, GpuClaim, Namespaces, Release, Trouble, Worker, WorkerKind as PlanKind, WorkerState,
};
use hearth_proto::worker::v1 as wire;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::failures::Failures;
use crate::controller::build::GRPC_PORT;
use crate::controller::look::{GpuOffer, LinkState, Machine, Offer, PodPhase, PodView};

/// A worker that does not answer for this long is gone: its models go elsewhere.
pub const GONE_AFTER: Duration = Duration::from_secs(10);
/// A worker that started and was never reached counts as starting for this long.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// A Pod that is still there this long after its grace period lies on a node
/// whose kubelet does not answer.
const OVERDUE: SignedDuration = SignedDuration::from_secs(10);

/// What the planner is told of a machine.
pub(super) fn worker(
    name: &str,
    machine: &Machine<'_>,
    stored: BTreeSet<String>,
    idle_for: Duration,
    failures: &Failures,
    at: Instant,
    now: Timestamp,
) -> Worker {
    let spec = &machine.worker.spec;
    let state = state(machine, at, now);
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
        // As the condition Open tells it.
        closed: spec.closed || !validation::worker(spec).is_empty(),
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
pub(super) fn state(machine: &Machine<'_>, at: Instant, now: Timestamp) -> WorkerState {
    let Some(pod) = &machine.pod else { return WorkerState::Parked };
    match &pod.phase {
        PodPhase::Over { .. } => WorkerState::Parked,
        PodPhase::Ending => ending(pod, machine.link, at, now),
        PodPhase::Unschedulable { .. } | PodPhase::Starting { .. } => WorkerState::Starting,
        PodPhase::Running { .. } => match machine.link {
            Some(link) if link.up => match link.last.as_ref().is_some_and(|last| last.draining) {
                true => WorkerState::Draining,
                false => WorkerState::Ready,
            },
            Some(link) => {
                let silent = at.saturating_duration_since(link.since);
                // What an earlier leader met is not a process that starts.
                let before = match link.last {
                    Some(_) => Some(WorkerState::Ready),
                    None => remembered(machine, pod),
                };
                match before {
                    Some(before) if silent < GONE_AFTER => before,
                    None if silent < STARTS_WITHIN => WorkerState::Starting,
                    _ => WorkerState::Gone,
                }
            }
            None => WorkerState::Starting,
        },
    }
}

/// What ends is made again if something is placed there; unless nobody is left
/// to end it, for then it stays as it is until somebody removes its node.
fn ending(pod: &PodView, link: Option<&LinkState>, at: Instant, now: Timestamp) -> WorkerState {
    let is_silent = link.is_some_and(|link| {
        !link.up && link.last.is_some() && at.saturating_duration_since(link.since) >= GONE_AFTER
    });
    let is_overdue = pod.ends.is_some_and(|ends| now.duration_since(ends) >= OVERDUE);
    if is_silent || is_overdue { WorkerState::Gone } else { WorkerState::Starting }
}

/// What status holds of this very process, once it was met.
fn remembered(machine: &Machine<'_>, pod: &PodView) -> Option<WorkerState> {
    use hearth_api::worker::WorkerState as Told;
    let status = machine.worker.status.as_ref()?;
    (status.address.is_some() && status.address == pod.address(GRPC_PORT)).then_some(())?;
    match status.state? {
        Told::Ready => Some(WorkerState::Ready),
        Told::Draining => Some(WorkerState::Draining),
        Told::Gone => Some(WorkerState::Gone),
        Told::Parked | Told::Starting => None,
    }
}

/// When the state of a machine may change without anything being told.
pub(super) fn next_change(link: &LinkState, at: Instant) -> Option<Instant> {
    let changes = [GONE_AFTER, STARTS_WITHIN].map(|limit| link.since + limit);
    changes.into_iter().find(|then| !link.up && *then > at)
}

fn claim(offer: &GpuOffer) -> GpuClaim {
    GpuClaim {
        // All that can be had, but at least one: a machine without a GPU to
        // spare is not started.
        wanted: offer.available().max(1),
        free: offer.free(),
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
    // Readings of a machine where no process runs are old: who used its memory, or
    // what was wrong with a device, may be long past. Nothing is refused for them;
    // it is read anew when the process runs, and planned anew.
    let is_stale = state == WorkerState::Parked;
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
            used_by_others: if is_stale { 0 } else { device.used_by_others },
            reserve,
            failed: by_itself.or(by_kubelet).filter(|_| !is_stale),
            bandwidth: None,
            storage: match device.weights {
                Some(Weights::Packed) => WeightStorage::Packed,
                Some(Weights::F32) | None => WeightStorage::F32,
            },
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
        weights: match device.weights() {
            wire::WeightStorage::Packed => Some(Weights::Packed),
            wire::WeightStorage::F32 => Some(Weights::F32),
            wire::WeightStorage::Unspecified => None,
        },
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
    let is_ending = machine.pod.as_ref().is_some_and(|pod| pod.phase == PodPhase::Ending);
    if state != WorkerState::Parked && !is_ending {
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

/// Room for files, as the process there tells it. What status remembers is not asked:
/// a disk may have been enlarged since, and only a process that runs finds out.
fn store_free(machine: &Machine<'_>) -> Option<u64> {
    let store = machine.link?.last.as_ref()?.store?;
    // A store that was never read says nothing, not that it is full.
    (store.capacity_bytes > 0)
        .then(|| store.capacity_bytes.saturating_sub(store.used_bytes.saturating_sub(store.unused_bytes)))
}
