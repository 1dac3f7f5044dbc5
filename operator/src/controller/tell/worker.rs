//! A Worker's status.

use std::collections::BTreeMap;

use hearth_api::condition::{Status, Update, WorkerReason, set_condition, worker as conditions};
use hearth_api::worker::{Applied, DeviceStatus, StoreStatus, WorkerState, WorkerStatus, WorkerSummary};
use hearth_plan::WorkerState as Seen;
use hearth_plan::human;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{bound, round};
use crate::controller::build::GRPC_PORT;
use crate::controller::decide::{MachineDecision, PodAction, from_wire};
use crate::controller::look::{Offer, PodPhase};

/// The status of a Worker. `before`: as it stands, whose readings are kept
/// while no process tells newer ones. `models`: replicas it holds or is about
/// to hold.
pub fn status(
    decision: &MachineDecision<'_>,
    before: &WorkerStatus,
    models: usize,
    certificate_expiry: Option<Timestamp>,
    now: Timestamp,
) -> WorkerStatus {
    let machine = &decision.machine;
    let pod = machine.pod.as_ref();
    let told = machine.link.and_then(|link| link.last.as_ref());
    let devices = match told {
        Some(told) => {
            let unhealthy = pod.map(|pod| &pod.unhealthy);
            let devices = told.devices.iter().map(from_wire).map(|mut device| {
                if let Some(why) = unhealthy.and_then(|unhealthy| unhealthy.get(&device.uuid)) {
                    device.healthy = false;
                    device.message.get_or_insert_with(|| why.clone());
                }
                device
            });
            measured(devices, &before.devices, now)
        }
        None => before.devices.clone(),
    };
    let view = View { decision, devices: &devices };
    let generation = machine.worker.metadata.generation;
    let mut status = WorkerStatus {
        observed_generation: generation,
        conditions: before.conditions.clone(),
        state: Some(view.state()),
        version: told.map(|told| told.version.clone()).or_else(|| before.version.clone()),
        pod_name: pod.map(|pod| pod.name.clone()),
        address: pod.and_then(|pod| pod.address(GRPC_PORT)),
        certificate_expiry: certificate_expiry.map(Time),
        store: told.and_then(|told| told.store).map(store).or(before.store),
        applied: told
            .and_then(|told| told.applied)
            .map(|fence| Applied { epoch: fence.epoch, generation: fence.generation })
            .or(before.applied),
        models: i32::try_from(models).unwrap_or(i32::MAX),
        idle_since: decision.idle_since.map(Time),
        summary: Some(summary(&devices)),
        devices: devices.clone(),
    };
    for update in [view.reachable(), view.healthy(), view.open()] {
        set_condition(&mut status.conditions, update, generation, now);
    }
    bound::worker(&mut status);
    status
}

struct View<'a> {
    decision: &'a MachineDecision<'a>,
    devices: &'a [DeviceStatus],
}

impl View<'_> {
    fn state(&self) -> WorkerState {
        let is_ending = self.decision.machine.pod.as_ref().is_some_and(|pod| pod.phase == PodPhase::Ending);
        match self.decision.state {
            _ if is_ending => WorkerState::Draining,
            Seen::Parked => WorkerState::Parked,
            Seen::Starting => WorkerState::Starting,
            Seen::Ready => WorkerState::Ready,
            Seen::Draining => WorkerState::Draining,
            Seen::Gone => WorkerState::Gone,
        }
    }

    fn reachable(&self) -> Update {
        const TYPE: &str = conditions::REACHABLE;
        let no = |reason: WorkerReason, message: String| Update::new(TYPE, false, reason, message);
        let machine = &self.decision.machine;
        if let PodAction::Blocked { why } = &self.decision.action {
            let reason = match &machine.offer {
                Offer::Gpus(offer) if offer.available() == 0 => WorkerReason::GpusTaken,
                Offer::Nothing(_) => WorkerReason::NodeGone,
                Offer::Gpus(_) | Offer::Cpu => WorkerReason::StartFailed,
            };
            return no(reason, why.clone());
        }
        let Some(pod) = &machine.pod else {
            return no(WorkerReason::Parked, "no process runs: no model needs the machine".to_owned());
        };
        match &pod.phase {
            PodPhase::Unschedulable { message, .. } => no(WorkerReason::Unschedulable, message.clone()),
            PodPhase::Over { message } => no(WorkerReason::StartFailed, message.clone()),
            PodPhase::Ending => no(WorkerReason::Draining, "its Pod ends".to_owned()),
            PodPhase::Starting { waiting: Some(why) } => no(WorkerReason::StartFailed, why.clone()),
            PodPhase::Starting { waiting: None } => no(WorkerReason::Starting, "its Pod starts".to_owned()),
            PodPhase::Running { .. } => match machine.link {
                Some(link) if link.up => {
                    Update::new(TYPE, true, WorkerReason::Answering, "its process answers".to_owned())
                }
                Some(link) if link.last.is_some() => {
                    let why = link.error.as_deref().unwrap_or("it does not answer");
                    no(WorkerReason::NoAnswer, why.to_owned())
                }
                // As an earlier leader met it, until our own link had time to come up.
                Some(_) if self.decision.state == Seen::Ready => {
                    Update::new(TYPE, true, WorkerReason::Answering, "its process answers".to_owned())
                }
                _ => no(WorkerReason::Starting, "its process starts".to_owned()),
            },
        }
    }

    fn healthy(&self) -> Update {
        const TYPE: &str = conditions::HEALTHY;
        let broken: Vec<String> = self
            .devices
            .iter()
            .filter(|device| !device.healthy)
            .map(|device| {
                format!("{}: {}", device.uuid, device.message.as_deref().unwrap_or("it does not work"))
            })
            .collect();
        match (self.devices, broken.as_slice()) {
            ([], _) => {
                Update::new(TYPE, Status::Unknown, WorkerReason::NotMeasured, "its devices were never read")
            }
            (_, []) => Update::new(TYPE, true, WorkerReason::DevicesWork, "every device works"),
            (_, broken) => Update::new(TYPE, false, WorkerReason::DeviceFailed, broken.join("; ")),
        }
    }

    fn open(&self) -> Update {
        const TYPE: &str = conditions::OPEN;
        let spec = &self.decision.machine.worker.spec;
        let errors = hearth_api::validation::worker(spec);
        if !errors.is_empty() {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Update::new(TYPE, false, WorkerReason::InvalidSpec, errors.join("; "));
        }
        let idle = hearth_api::validation::worker_without_effect(spec);
        match (spec.closed, idle.as_slice()) {
            (true, _) => Update::new(TYPE, false, WorkerReason::ClosedByAdministrator, "spec.closed is set"),
            (false, []) => Update::new(TYPE, true, WorkerReason::InService, "models may be placed here"),
            (false, idle) => {
                let message =
                    format!("models may be placed here; without effect in this version: {}", idle.join(", "));
                Update::new(TYPE, true, WorkerReason::PartlyWithoutEffect, message)
            }
        }
    }
}

/// Readings in round numbers; the time of a reading is kept while it says the same.
fn measured(
    devices: impl Iterator<Item = DeviceStatus>,
    before: &[DeviceStatus],
    now: Timestamp,
) -> Vec<DeviceStatus> {
    let before: BTreeMap<&str, &DeviceStatus> =
        before.iter().map(|device| (device.uuid.as_str(), device)).collect();
    devices
        .map(|mut device| {
            device.used_by_others = round::used(device.used_by_others, device.total).min(device.total);
            device.free = round::free(device.free, device.total);
            let old = before.get(device.uuid.as_str());
            device.measured_at = old.and_then(|old| old.measured_at.clone());
            if old.is_none_or(|old| **old != device) || device.measured_at.is_none() {
                device.measured_at = Some(Time(now));
            }
            device
        })
        .collect()
}

fn store(store: hearth_proto::worker::v1::Store) -> StoreStatus {
    let hearth_proto::worker::v1::Store { capacity_bytes: capacity, used_bytes, unused_bytes } = store;
    let (used, unused) = round::stored(used_bytes, unused_bytes, capacity);
    StoreStatus { capacity, used, unused }
}

fn summary(devices: &[DeviceStatus]) -> WorkerSummary {
    let mut products: BTreeMap<&str, usize> = BTreeMap::new();
    for device in devices {
        *products.entry(device.product.as_str()).or_default() += 1;
    }
    let product = |(name, count): (&&str, &usize)| {
        let name = name.strip_prefix("NVIDIA ").unwrap_or(name);
        let name = name.strip_prefix("GeForce ").unwrap_or(name);
        if *count == 1 { name.to_owned() } else { format!("{count}x {name}") }
    };
    let sum = |of: fn(&DeviceStatus) -> u64| match devices {
        [] => String::new(),
        devices => human(devices.iter().map(of).fold(0, u64::saturating_add)),
    };
    let device = products.iter().map(product).collect::<Vec<_>>().join(", ");
    WorkerSummary { device, memory: sum(|device| device.total), free: sum(|device| device.free) }
}

#[cfg(test)]
mod tests {
    use hearth_api::Worker;
    use hearth_api::worker::{DeviceKind, Hours, WorkerSpec};

    use super::*;
    use crate::controller::look::Machine;

    /// What the condition Open says of a Worker with this spec.
    fn open(change: impl FnOnce(&mut WorkerSpec)) -> (String, String) {
        let mut worker = Worker::new("box", WorkerSpec::pod("box"));
        change(&mut worker.spec);
        let decision = MachineDecision {
            name: "box",
            machine: Machine { worker: &worker, offer: Offer::Cpu, pod: None, link: None },
            state: Seen::Parked,
            action: PodAction::Leave,
            runtime_class: None,
            idle_since: None,
        };
        let update = View { decision: &decision, devices: &[] }.open();
        (format!("{}={}", update.status.as_str(), update.reason), update.message)
    }

    #[test]
    fn a_worker_is_told_whether_it_is_open_and_what_of_its_spec_does_nothing() {
        let hours =
            Hours { open: "08:00".to_owned(), close: "20:00".to_owned(), time_zone: "UTC".to_owned() };
        assert_eq!(open(|_| {}).0, "True=InService");
        assert_eq!(open(|spec| spec.closed = true).0, "False=ClosedByAdministrator");
        let (partly, why) = open(|spec| spec.hours = vec![hours]);
        assert_eq!(partly, "True=PartlyWithoutEffect");
        assert!(why.contains("spec.hours"), "{why}");
        assert_eq!(open(|spec| spec.store.size = 0.into()).0, "False=InvalidSpec");
    }

    fn device(uuid: &str, free: u64) -> DeviceStatus {
        DeviceStatus {
            uuid: uuid.to_owned(),
            kind: DeviceKind::Cuda,
            product: "NVIDIA GeForce RTX 3090".to_owned(),
            total: 24 << 30,
            used_by_others: 0,
            free,
            measured_at: None,
            healthy: true,
            message: None,
            weights: None,
        }
    }

    #[test]
    fn a_reading_that_says_the_same_keeps_its_time() {
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let before = measured([device("a", 20 << 30)].into_iter(), &[], first);
        let same = measured([device("a", (20 << 30) + 4096)].into_iter(), &before, later);
        assert_eq!(before, same);
        let other = measured([device("a", 10 << 30)].into_iter(), &before, later);
        assert_eq!(other[0].measured_at, Some(Time(later)));
    }

    #[test]
    fn a_machine_is_called_after_its_devices() {
        let two = [device("a", 1 << 30), device("b", 1 << 30)];
        let summary = summary(&two);
        assert_eq!((summary.device.as_str(), summary.memory.as_str()), ("2x RTX 3090", "48.0Gi"));
    }
}
