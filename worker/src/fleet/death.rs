//! What the end of an engine process means to those that it held.

use std::time::Instant;

use super::backoff::{backoff, hold_back};
use super::event::Effect;
use super::state::{EngineState, Instance, Stage, State, UNHEALTHY_DEATHS};
use crate::spec::Failure;

/// The reason of a failure when the system could not end an engine process.
pub const NOT_ENDED: &str = "EngineNotEnded";

impl State {
    /// Takes the end of a device's engine process, with all that it held.
    pub(super) fn engine_down(
        &mut self,
        device: &str,
        failure: Option<Failure>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let loading = |i: &Instance| matches!(i.stage, Stage::Loading { .. });
        let suspect = self.on(device).find(|(_, i)| loading(i)).map(|(_, i)| i.spec.id.clone());
        let answered = |i: &Instance| matches!(i.stage, Stage::Ready | Stage::Draining { .. });
        // On a device where others answered, what ends a load's process is the load.
        let blamed = suspect.is_some() && self.on(device).any(|(_, i)| answered(i));
        let Some(slot) = self.devices.get_mut(device) else { return };
        slot.engine = EngineState::Stopped;
        if let Some(failure) = &failure {
            if failure.reason == NOT_ENDED {
                // What cannot even be ended holds on to the device.
                slot.deaths = slot.deaths.max(UNHEALTHY_DEATHS - 1) + 1;
            } else if !blamed || slot.deaths == 0 {
                slot.deaths += 1;
            }
            slot.calm_since = Some(now);
            slot.not_before = Some(now + backoff(slot.deaths));
            slot.last_death = Some(failure.clone());
        }
        let there: Vec<_> =
            self.on(device).filter(|(_, i)| i.stage.is_resident()).map(|(id, _)| id).collect();
        for id in there {
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            instance.measured = None;
            instance.number += 1;
            match (&instance.stage, &failure) {
                (Stage::Loading { .. }, Some(failure)) => instance.hold_back(failure, now),
                (Stage::Ready | Stage::Loading { .. }, _) => {
                    instance.stage = if instance.spec.file.is_mounted() {
                        Stage::Waiting { not_before: None }
                    } else {
                        Stage::Fetched
                    };
                    instance.failure = failure.clone().map(|f| match &suspect {
                        Some(suspect) => f.with(&format!("; it was loading replica {suspect:?} then")),
                        None => f,
                    });
                }
                (Stage::Draining { .. } | Stage::Unloading, _) => self.gone(id, now, effects),
                (
                    Stage::Waiting { .. } | Stage::Fetching { .. } | Stage::Fetched | Stage::Failed { .. },
                    _,
                ) => {}
            }
        }
    }
}

impl Instance {
    /// Takes the end of the engine process that loaded it. It is the suspect, and
    /// is tried again ever later: each try costs the others on the device.
    fn hold_back(&mut self, failure: &Failure, now: Instant) {
        self.kills += 1;
        self.failures += 1;
        let wait = hold_back(self.kills);
        let again = format!(
            "; that was while it loaded this model, which is held back for {} s so that others come first",
            wait.as_secs()
        );
        self.failure = Some(failure.clone().with(&again));
        self.stage = Stage::Waiting { not_before: Some(now + wait) };
    }
}
