//! Which changes are worth telling at once.

use hearth_proto::worker::v1::{Device, ReplicaStatus, Store, WatchResponse};

/// A state without what moves all the time: bytes on their way, requests that
/// come and go, memory that others use. A change of the rest is told at once, a
/// change of these at most once a second.
pub fn essence(told: &WatchResponse) -> WatchResponse {
    // Destructured, so that a new field must be judged.
    let WatchResponse { version, applied, devices, replicas, store: _, draining } = told;
    WatchResponse {
        version: version.clone(),
        applied: *applied,
        devices: devices.iter().map(device).collect(),
        replicas: replicas.iter().map(replica).collect(),
        store: None::<Store>,
        draining: *draining,
    }
}

fn device(device: &Device) -> Device {
    Device { used_by_others_bytes: 0, free_bytes: 0, measured_at: None, ..device.clone() }
}

fn replica(replica: &ReplicaStatus) -> ReplicaStatus {
    ReplicaStatus { done_bytes: 0, total_bytes: 0, eta: None, outstanding_requests: 0, ..replica.clone() }
}
