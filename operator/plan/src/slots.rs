//! The devices of all machines in one list, with the room they have.

use hearth_model::footprint::DeviceKind;

use crate::{
    bandwidth::{bandwidth, class},
    observed::{Device, Devices, Worker, WorkerState},
};

/// A known device of a Worker.
pub(crate) struct Slot<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) device: &'a Device,
    /// GB/s.
    pub(crate) bandwidth: u32,
    pub(crate) class: u32,
    /// Bytes for our replicas while only such are there as already run there:
    /// they have their memory, so the reserve may shrink under them.
    pub(crate) keep_room: u64,
    /// Bytes for our replicas once a new one is among them.
    pub(crate) new_room: u64,
}

/// What a Worker has for the planner.
pub(crate) enum Offer<'a> {
    Known(&'a [Device]),
    Unmeasured(DeviceKind),
}

impl Worker {
    pub(crate) fn offer(&self) -> Offer<'_> {
        match &self.devices {
            Devices::Unmeasured { kind } => Offer::Unmeasured(*kind),
            // The device plugin hands GPUs out by number: when the Pod gets fewer
            // than the machine has, nobody knows which until it runs.
            Devices::Known(devices) if self.state == WorkerState::Parked && self.gets_fewer(devices) => {
                Offer::Unmeasured(DeviceKind::Cuda)
            }
            Devices::Known(devices) => Offer::Known(devices),
        }
    }

    fn gets_fewer(&self, devices: &[Device]) -> bool {
        let gpus = devices.iter().filter(|d| d.kind == DeviceKind::Cuda).count();
        self.gpus
            .as_ref()
            .is_some_and(|claim| usize::try_from(claim.wanted).is_ok_and(|wanted| wanted < gpus))
    }
}

/// All known devices, ordered by Worker and UUID.
pub(crate) fn slots<'a>(workers: &[&'a Worker]) -> Vec<Slot<'a>> {
    let mut slots: Vec<Slot<'a>> = workers
        .iter()
        .filter_map(|&worker| match worker.offer() {
            Offer::Known(devices) => Some(devices.iter().map(move |device| Slot::new(worker, device))),
            Offer::Unmeasured(_) => None,
        })
        .flatten()
        .collect();
    slots.sort_by(|a, b| (&a.worker.name, &a.device.uuid).cmp(&(&b.worker.name, &b.device.uuid)));
    slots
}

impl<'a> Slot<'a> {
    fn new(worker: &'a Worker, device: &'a Device) -> Self {
        let bandwidth = device.bandwidth.unwrap_or_else(|| bandwidth(device.kind, &device.product));
        let keep_room = device.total.saturating_sub(device.used_by_others);
        let new_room = keep_room.saturating_sub(device.reserve);
        Self { worker, device, bandwidth, class: class(bandwidth), keep_room, new_room }
    }
}
