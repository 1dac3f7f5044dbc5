//! The worker's whole state, as it is told.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use hearth_model::WeightStorage;
use hearth_proto::worker::v1 as proto;

use super::{failure_to_proto, fence_to_proto, footprint_to_proto};
use crate::fleet::event::InstanceId;
use crate::fleet::memory::Memory;
use crate::fleet::progress::Progress;
use crate::fleet::state::{DeviceSlot, Instance, Stage, State, UNHEALTHY_DEATHS};
use crate::host::{Device, DeviceKind};

/// Bytes of the model store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUse {
    /// What the store could hold.
    pub capacity: u64,
    /// What it holds.
    pub used: u64,
    /// Of that, what no replica here needs.
    pub unused: u64,
}

/// Others write to the same disk: changes of less are not told, if the disk is a
/// large one.
const STORE_NOISE: u64 = 256 << 20;

impl StoreUse {
    /// What was told `before`, unless more than noise changed.
    #[must_use]
    pub fn settle(self, before: Self) -> Self {
        let same = (self.used, self.unused) == (before.used, before.unused)
            && self.capacity.abs_diff(before.capacity) < STORE_NOISE.min(before.capacity / 16);
        if same { before } else { self }
    }
}

/// Renders the state. `outstanding` counts the requests that run on an instance.
pub fn snapshot(
    state: &State,
    devices: &[(Device, Option<Memory>)],
    store: StoreUse,
    outstanding: impl Fn(InstanceId) -> u32,
    now: Instant,
) -> proto::WatchResponse {
    proto::WatchResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        applied: state.applied.map(fence_to_proto),
        devices: devices.iter().map(|(device, memory)| device_status(state, device, *memory)).collect(),
        replicas: replicas(state, outstanding, now),
        store: Some(proto::Store {
            capacity_bytes: store.capacity,
            used_bytes: store.used,
            unused_bytes: store.unused,
        }),
        draining: state.leaving,
    }
}

fn device_status(state: &State, device: &Device, memory: Option<Memory>) -> proto::Device {
    let ours = state.resident_bytes(&device.uuid);
    let problem = state.devices.get(&device.uuid).and_then(problem);
    proto::Device {
        uuid: device.uuid.clone(),
        kind: match device.kind {
            DeviceKind::Cuda => proto::DeviceKind::Cuda,
            DeviceKind::Metal => proto::DeviceKind::Metal,
            DeviceKind::Vulkan => proto::DeviceKind::Vulkan,
            DeviceKind::Cpu => proto::DeviceKind::Cpu,
        }
        .into(),
        product: device.product.clone(),
        total_bytes: memory.map_or(0, |m| m.total),
        used_by_others_bytes: memory.map_or(0, |m| m.others),
        free_bytes: memory.map_or(0, |m| m.free(ours)),
        measured_at: memory.map(|m| timestamp(m.measured_at)),
        healthy: problem.is_none(),
        message: problem.unwrap_or_default(),
        weights: match device.engine.weights() {
            WeightStorage::F32 => proto::WeightStorage::F32,
            WeightStorage::Packed => proto::WeightStorage::Packed,
        }
        .into(),
    }
}

fn problem(slot: &DeviceSlot) -> Option<String> {
    if let Some(failure) = &slot.unusable {
        return Some(failure.message.clone());
    }
    let last = slot.last_death.as_ref().filter(|_| slot.deaths >= UNHEALTHY_DEATHS)?;
    Some(format!("the engine process ended {} times in a row; the last time: {}", slot.deaths, last.message))
}

fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// One status a replica id: where an old load still drains, the new one speaks
/// for both.
fn replicas(
    state: &State,
    outstanding: impl Fn(InstanceId) -> u32,
    now: Instant,
) -> Vec<proto::ReplicaStatus> {
    let mut by_id: BTreeMap<&str, proto::ReplicaStatus> = BTreeMap::new();
    for (id, instance) in &state.instances {
        let mut status = replica(instance, now);
        status.outstanding_requests = outstanding(*id);
        if let Some(older) = by_id.get(instance.spec.id.as_str()) {
            status.outstanding_requests += older.outstanding_requests;
        }
        by_id.insert(&instance.spec.id, status);
    }
    by_id.into_values().collect()
}

fn replica(instance: &Instance, now: Instant) -> proto::ReplicaStatus {
    use proto::ReplicaState as S;
    let file_size = instance.file.as_ref().map_or(0, |f| f.size_bytes);
    let none = Progress::default();
    let (reported, progress) = match &instance.stage {
        Stage::Waiting { .. } => (S::Pending, none),
        Stage::Fetching { progress, .. } => (S::Fetching, *progress),
        // The engine has not begun with it, but the fetch is over.
        Stage::Fetched => (S::Loading, Progress::of(file_size)),
        Stage::Loading { warming: true, .. } => (S::Warming, none),
        Stage::Loading { progress, .. } => (S::Loading, *progress),
        Stage::Ready => (S::Ready, none),
        Stage::Draining { .. } | Stage::Unloading => (S::Draining, none),
        Stage::Failed { .. } => (S::Failed, none),
    };
    proto::ReplicaStatus {
        id: instance.spec.id.clone(),
        state: reported.into(),
        device_uuid: instance.spec.device.clone(),
        done_bytes: progress.done,
        total_bytes: progress.total,
        eta: progress.eta(now).map(|eta| prost_types::Duration {
            seconds: i64::try_from(eta.as_secs()).unwrap_or(0),
            nanos: 0,
        }),
        measured: instance.measured.map(footprint_to_proto),
        failure: instance.failure.as_ref().map(failure_to_proto),
        outstanding_requests: 0,
        sha256: instance.file.as_ref().map(|f| f.sha256.to_string()).unwrap_or_default(),
        fence: Some(fence_to_proto(instance.fence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::event::Event;
    use crate::host::EngineKind;
    use crate::intent::Intent;
    use crate::spec::tests::spec;
    use crate::spec::{Failure, Fence};

    #[test]
    fn says_what_is_known() {
        let now = Instant::now();
        let mut state = State::new(["d0".to_owned()]);
        let unusable = Some(Failure::transient("DeviceLost", "it fell off the bus"));
        state.step(Event::Budget { device: "d0".into(), bytes: 0, room: 0, unusable }, now);
        let fence = Fence { epoch: 1, generation: 2 };
        state.step(Event::Applied(Intent { fence, replicas: vec![spec("b"), spec("a")] }), now);
        let device = Device {
            uuid: "d0".into(),
            kind: DeviceKind::Cuda,
            product: "A GPU".into(),
            engine: EngineKind::Cpu,
            shows_ours: false,
        };
        let memory = Memory { total: 10, others: 3, measured_at: SystemTime::UNIX_EPOCH };
        let told = snapshot(&state, &[(device, Some(memory))], StoreUse::default(), |_| 7, now);
        assert_eq!(told.applied, Some(proto::Fence { epoch: 1, generation: 2 }));
        assert_eq!(told.devices[0].free_bytes, 7);
        assert!(!told.devices[0].healthy);
        assert_eq!(told.devices[0].message, "it fell off the bus");
        assert_eq!(told.replicas.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(told.replicas[0].outstanding_requests, 7);
        assert_eq!(told.replicas[0].state(), proto::ReplicaState::Fetching);
    }
}
