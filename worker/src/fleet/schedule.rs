//! Whose turn it is: fetches, engine processes, loads.

use std::time::{Duration, Instant};

use super::event::{Effect, InstanceId};
use super::progress::Progress;
use super::state::{EngineState, Instance, Stage, State};

/// More would only share the same line, and each keeps a disk busy.
const FETCHES_AT_ONCE: usize = 2;
/// A fetch that takes longer keeps nobody waiting any more: its source may be slow
/// where another's is fast, and a small file need not wait for a large one.
pub(super) const FETCH_STANDS_ASIDE: Duration = Duration::from_secs(30);
/// Fetches in all, those that stand aside too. Each ends with its load's time limit.
const MOST_FETCHES: usize = 8;

impl State {
    /// Begins everything that can begin now.
    pub(super) fn schedule(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.leaving {
            return;
        }
        self.retry_what_may_fit();
        self.begin_fetches(now, effects);
        let devices: Vec<_> = self.devices.keys().cloned().collect();
        for device in devices {
            self.refuse_what_cannot_fit(&device, now);
            self.settle_engine(&device, now, effects);
            self.begin_load(&device, now, effects);
        }
    }

    fn begin_fetches(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let since = |i: &Instance| match i.stage {
            Stage::Fetching { since, .. } => Some(since),
            _ => None,
        };
        let fetches: Vec<Instant> = self.instances.values().filter_map(since).collect();
        let aside = fetches.iter().filter(|since| **since + FETCH_STANDS_ASIDE <= now).count();
        let (mut running, mut all) = (fetches.len() - aside, fetches.len());
        for (id, instance) in &mut self.instances {
            if instance.stage != (Stage::Waiting { not_before: None }) {
                continue;
            }
            // A file on a claim may be another by now, and is looked at again.
            if instance.file.is_some() && !instance.spec.file.is_mounted() {
                instance.stage = Stage::Fetched;
            } else if running < FETCHES_AT_ONCE && all < MOST_FETCHES {
                running += 1;
                all += 1;
                instance.stage = Stage::Fetching { since: now, progress: Progress::default() };
                effects.push(Effect::Fetch { of: instance.next_try(*id), file: instance.spec.file.clone() });
            }
        }
    }

    /// An engine process runs while something needs it, and no longer: an idle
    /// one holds a device context that others could use.
    fn settle_engine(&mut self, device: &str, now: Instant, effects: &mut Vec<Effect>) {
        let needed = self.on(device).any(|(_, i)| i.stage.needs_engine());
        let Some(slot) = self.devices.get_mut(device) else { return };
        match slot.engine {
            EngineState::Stopped if needed && slot.unusable.is_none() => {
                slot.engine = EngineState::Starting;
                let at = slot.not_before.take().unwrap_or(now);
                effects.push(Effect::StartEngine { device: device.to_owned(), at });
            }
            EngineState::Starting | EngineState::Up if !needed => {
                slot.engine = EngineState::Stopping;
                effects.push(Effect::StopEngine { device: device.to_owned() });
            }
            EngineState::Stopped | EngineState::Starting | EngineState::Up | EngineState::Stopping => {}
        }
    }

    /// At most one load a device: two at once take each other's bandwidth, and
    /// neither would know what memory it has. The oldest waits first; one that
    /// needs what others still hold waits for them, and lets nobody overtake. One
    /// whose load ended the engine process comes after those that it took down.
    fn begin_load(&mut self, device: &str, now: Instant, effects: &mut Vec<Effect>) {
        let Some(slot) = self.devices.get(device) else { return };
        let loading = self.on(device).any(|(_, i)| matches!(i.stage, Stage::Loading { .. }));
        if slot.engine != EngineState::Up || slot.unusable.is_some() || loading {
            return;
        }
        let waiting = self.on(device).filter(|(_, i)| i.stage == Stage::Fetched);
        let Some((id, next)) = waiting.min_by_key(|(id, i)| (i.kills, *id)) else { return };
        let leaving =
            self.on(device).any(|(_, i)| matches!(i.stage, Stage::Draining { .. } | Stage::Unloading));
        let fits = self.resident_bytes(device).saturating_add(next.bytes()) <= slot.budget;
        // When nothing is on its way out, waiting would not help: what is left of
        // the reserve takes it.
        if fits || !leaving {
            self.load(id, now, effects);
        }
    }

    fn load(&mut self, id: InstanceId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Some(file) = instance.file.clone() else { return };
        instance.stage = Stage::Loading { since: now, progress: Progress::default(), warming: false };
        let of = instance.next_try(id);
        effects.push(Effect::Load { of, spec: Box::new(instance.spec.clone()), file });
    }
}
