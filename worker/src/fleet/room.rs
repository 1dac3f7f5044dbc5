//! Whether a model fits onto its device, before anybody tries.

use std::time::Instant;

use hearth_model::Footprint;

use super::event::InstanceId;
use super::state::{Instance, Stage, State};
use crate::spec::Failure;

/// The reason of a load that found too little memory, here or at the engine.
pub(super) const OUT_OF_MEMORY: &str = "OutOfMemory";

impl State {
    /// What a load could take of a device now, with what is kept in reserve.
    fn free(&self, device: &str) -> u64 {
        let room = self.devices.get(device).map_or(0, |slot| slot.room);
        room.saturating_sub(self.resident_bytes(device))
    }

    /// Notes what is free where an instance found no room.
    pub(super) fn note_room(&mut self, id: InstanceId) {
        let free = self.instances.get(&id).map(|i| self.free(&i.spec.device));
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.found_free = free;
        }
    }

    /// What found no room does not wait its time out once there is more of it, and
    /// enough by what was planned.
    pub(super) fn retry_what_may_fit(&mut self) {
        let waits = |i: &Instance| matches!(i.stage, Stage::Waiting { not_before: Some(_) });
        let may_fit: Vec<InstanceId> = self
            .instances
            .iter()
            .filter(|(_, i)| waits(i))
            .filter(|(_, i)| {
                let free = self.free(&i.spec.device);
                i.found_free.is_some_and(|found| free > found) && i.bytes() <= free
            })
            .map(|(id, _)| *id)
            .collect();
        for id in may_fit {
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.found_free = None;
                instance.stage = Stage::Waiting { not_before: None };
            }
        }
    }

    /// Refuses loads that cannot fit while nothing on the device is on its way in
    /// or out. An engine that tried would be told by the device at best; where
    /// memory is the system's, the kernel ends the process, and every other model
    /// on the device with it.
    ///
    /// What is left to others in reserve counts as free here: it is the planner's
    /// to keep, and no reason to leave a model unloaded that it has placed.
    pub(super) fn refuse_what_cannot_fit(&mut self, device: &str, now: Instant) {
        let Some(slot) = self.devices.get(device) else { return };
        let moving = |stage: &Stage| {
            matches!(stage, Stage::Loading { .. } | Stage::Draining { .. } | Stage::Unloading)
        };
        if slot.unusable.is_some() || self.on(device).any(|(_, i)| moving(&i.stage)) {
            return;
        }
        let (room, taken) = (slot.room, self.resident_bytes(device));
        let refused: Vec<_> = self
            .on(device)
            .filter(|(_, i)| i.stage == Stage::Fetched && taken.saturating_add(i.bytes()) > room)
            .map(|(id, _)| id)
            .collect();
        for id in refused {
            if let Some(instance) = self.instances.get_mut(&id) {
                let failure = does_not_fit(instance.spec.footprint, room, taken);
                instance.fail(failure, now);
                self.note_room(id);
            }
        }
    }
}

fn does_not_fit(needed: Footprint, room: u64, taken: u64) -> Failure {
    let Footprint { weights, kv, activations, overhead } = needed;
    Failure::transient(
        OUT_OF_MEMORY,
        format!(
            "it needs {} (weights {}, KV cache {}, activations {}, overhead {}), and {} of the device is free: \
             {} is not used by others, of which models of this worker hold {}; lower contextTokens or \
             sequences, or free memory",
            mib(needed.total()),
            mib(weights),
            mib(kv),
            mib(activations),
            mib(overhead),
            mib(room.saturating_sub(taken)),
            mib(room),
            mib(taken),
        ),
    )
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
