//! One event at a time: what it changes, and what it wants done.
//!
//! Pure: time comes in as an argument, and everything that reaches outside
//! leaves as an [`Effect`].

use std::time::{Duration, Instant};

use super::backoff::backoff;
use super::event::{Effect, Event, InstanceId, LoadStep, Try};
use super::expire::RETRY_AFTER_TIMEOUT;
use super::progress::Progress;
use super::room::OUT_OF_MEMORY;
use super::state::{EngineState, Instance, Stage, State};
use crate::intent::Intent;
use crate::spec::{Failure, Fence, ReplicaSpec};

/// How long a replica that is no longer wanted may finish what it began.
pub const DRAIN_AT_MOST: Duration = Duration::from_secs(30);

impl State {
    /// Takes one event in. The effects are to be carried out in their order.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.absorb(event, now, &mut effects);
        self.expire(now, &mut effects);
        self.schedule(now, &mut effects);
        effects
    }

    fn absorb(&mut self, event: Event, now: Instant, effects: &mut Vec<Effect>) {
        match event {
            Event::Applied(intent) => self.apply(intent, now, effects),
            Event::FetchProgress { of, done, total } => {
                if let Some(Stage::Fetching { progress, .. }) = self.stage_of(of) {
                    progress.report(now, done, total);
                }
            }
            Event::Fetched { of, file } => {
                if let Some(stage @ Stage::Fetching { .. }) = self.stage_of(of) {
                    *stage = Stage::Fetched;
                    self.instance(of.instance, |i| i.file = Some(file));
                }
            }
            Event::FetchFailed { of, failure } => {
                if let Some(Stage::Fetching { .. }) = self.stage_of(of) {
                    self.instance(of.instance, |i| i.fail(failure, now));
                }
            }
            Event::LoadProgress { of, step, done, total } => {
                if let Some(Stage::Loading { progress, warming, .. }) = self.stage_of(of) {
                    let now_warming = step == LoadStep::Warming;
                    if *warming != now_warming {
                        *warming = now_warming;
                        *progress = Progress::default();
                    }
                    progress.report(now, done, total);
                }
            }
            Event::Loaded { of, measured } => self.loaded(of, measured, now),
            Event::LoadFailed { of, failure } => {
                if let Some(Stage::Loading { .. }) = self.stage_of(of) {
                    let is_short = failure.reason == OUT_OF_MEMORY;
                    self.instance(of.instance, |i| i.fail(failure, now));
                    if is_short {
                        self.note_room(of.instance);
                    }
                    self.calm_from(of.instance, now);
                }
            }
            Event::Idle(id) => self.unload_if(id, effects, |stage| matches!(stage, Stage::Draining { .. })),
            Event::Unloaded(id) => {
                if let Some(instance) = self.instances.get_mut(&id)
                    && instance.stage == Stage::Unloading
                {
                    self.gone(id, now, effects);
                }
            }
            Event::EngineUp { device } => {
                if let Some(slot) = self.devices.get_mut(&device)
                    && slot.engine == EngineState::Starting
                {
                    slot.engine = EngineState::Up;
                }
            }
            Event::EngineDown { device, failure } => self.engine_down(&device, failure, now, effects),
            Event::Budget { device, bytes, room, unusable } => {
                if let Some(slot) = self.devices.get_mut(&device) {
                    slot.budget = bytes;
                    slot.room = room;
                    slot.unusable = unusable;
                }
            }
            Event::Leaving => self.leaving = true,
            Event::Tick => {}
        }
    }

    /// The stage of an instance, if the try is its present one.
    fn stage_of(&mut self, of: Try) -> Option<&mut Stage> {
        self.instances.get_mut(&of.instance).filter(|i| i.number == of.number).map(|i| &mut i.stage)
    }

    fn instance(&mut self, id: InstanceId, change: impl FnOnce(&mut Instance)) {
        if let Some(instance) = self.instances.get_mut(&id) {
            change(instance);
        }
    }

    fn apply(&mut self, intent: Intent, now: Instant, effects: &mut Vec<Effect>) {
        self.applied = Some(intent.fence);
        let mut new: Vec<ReplicaSpec> = intent.replicas;
        let present: Vec<_> = self.instances.iter().filter(|(_, i)| i.wanted).map(|(id, _)| *id).collect();
        for id in present {
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            match new.iter().position(|spec| instance.spec.same_load(spec)) {
                Some(at) => {
                    let fetching = matches!(instance.stage, Stage::Fetching { .. });
                    let spec = new.swap_remove(at);
                    let known = self.devices.contains_key(&spec.device);
                    if instance.update(spec, intent.fence, known) && fetching {
                        effects.push(Effect::StopFetch(id));
                    }
                }
                None => self.retire(id, now, effects),
            }
        }
        // In the order of their ids, so that the same set begins the same way.
        new.sort_by(|a, b| a.id.cmp(&b.id));
        for spec in new {
            self.last_instance += 1;
            let known = self.devices.contains_key(&spec.device);
            let mut instance = Instance {
                fence: intent.fence,
                wanted: true,
                stage: Stage::Waiting { not_before: None },
                number: 0,
                failures: 0,
                kills: 0,
                failure: None,
                found_free: None,
                file: None,
                measured: None,
                spec,
            };
            if !known {
                let message = format!("this worker has no device {:?}", instance.spec.device);
                instance.fail(Failure::permanent("UnknownDevice", message), now);
            }
            self.instances.insert(InstanceId(self.last_instance), instance);
        }
    }

    /// Begins the end of an instance that is no longer wanted.
    fn retire(&mut self, id: InstanceId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.wanted = false;
        match instance.stage {
            Stage::Waiting { .. } | Stage::Fetched | Stage::Failed { .. } => self.forget(id, effects),
            Stage::Fetching { .. } => {
                effects.push(Effect::StopFetch(id));
                self.forget(id, effects);
            }
            Stage::Loading { .. } => {
                self.unload_if(id, effects, |stage| matches!(stage, Stage::Loading { .. }));
            }
            Stage::Ready => {
                instance.stage = Stage::Draining { until: now + DRAIN_AT_MOST };
                effects.push(Effect::Drain(id));
            }
            Stage::Draining { .. } | Stage::Unloading => {}
        }
    }

    fn loaded(&mut self, of: Try, measured: hearth_model::Footprint, now: Instant) {
        let Some(stage @ Stage::Loading { .. }) = self.stage_of(of) else { return };
        *stage = Stage::Ready;
        self.instance(of.instance, |i| {
            i.measured = Some(measured);
            i.failures = 0;
            i.kills = 0;
            i.failure = None;
        });
        self.calm_from(of.instance, now);
    }

    /// A load on this instance's device came to its end: if the engine process
    /// stays from now on, it is stable.
    fn calm_from(&mut self, id: InstanceId, now: Instant) {
        let Some(device) = self.instances.get(&id).map(|i| &i.spec.device) else { return };
        if let Some(slot) = self.devices.get_mut(device)
            && slot.calm_since.is_some()
        {
            slot.calm_since = Some(now);
        }
    }

    pub(super) fn unload_if(
        &mut self,
        id: InstanceId,
        effects: &mut Vec<Effect>,
        condition: impl Fn(&Stage) -> bool,
    ) {
        if let Some(instance) = self.instances.get_mut(&id)
            && condition(&instance.stage)
        {
            instance.stage = Stage::Unloading;
            // Whatever a load still says is void.
            instance.number += 1;
            effects.push(Effect::Unload { instance: id, device: instance.spec.device.clone() });
        }
    }

    /// The engine holds nothing of it any more.
    pub(super) fn gone(&mut self, id: InstanceId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.measured = None;
        if instance.wanted {
            // Only a load that ran out of time is unloaded while it is wanted.
            instance.stage = Stage::Failed { retry_at: Some(now + RETRY_AFTER_TIMEOUT) };
        } else {
            self.forget(id, effects);
        }
    }

    fn forget(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        self.instances.remove(&id);
        effects.push(Effect::Forget(id));
    }
}

impl Instance {
    /// Takes a failure: another try follows, unless it cannot help.
    pub(super) fn fail(&mut self, failure: Failure, now: Instant) {
        self.failures += 1;
        self.found_free = None;
        self.stage = if failure.permanent {
            Stage::Failed { retry_at: None }
        } else {
            Stage::Waiting { not_before: Some(now + backoff(self.failures)) }
        };
        self.failure = Some(failure);
    }

    /// Takes a spec of the same load, and speaks for its order from now on: whoever
    /// gave it waits for word of it. Says whether the file is to be had anew: what has
    /// its file goes on, wherever the same lies now; what waits for it or failed is
    /// worth another try at once with another address, version, size or token.
    fn update(&mut self, spec: ReplicaSpec, fence: Fence, device_known: bool) -> bool {
        self.fence = fence;
        let elsewhere = spec.file != self.spec.file;
        self.spec = spec;
        // The same bytes have ended the engine before, wherever they come from now.
        let held_back = self.kills > 0 && self.spec.file.sha256.is_some();
        let has_file = self.stage == Stage::Fetched || self.stage.is_resident();
        if !elsewhere || !device_known || held_back || has_file {
            return false;
        }
        if self.spec.file.sha256.is_none() {
            // What is here may be another version.
            self.file = None;
        }
        self.stage = Stage::Waiting { not_before: None };
        (self.failures, self.kills, self.failure) = (0, 0, None);
        true
    }
}
