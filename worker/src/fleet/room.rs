//! Whether a model fits onto its device, before anybody tries.

use std::time::Instant;

use hearth_model::Footprint;

use super::state::{Stage, State};
use crate::spec::Failure;

impl State {
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
            }
        }
    }
}

fn does_not_fit(needed: Footprint, room: u64, taken: u64) -> Failure {
    let Footprint { weights, kv, activations, overhead } = needed;
    Failure::transient(
        "OutOfMemory",
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
