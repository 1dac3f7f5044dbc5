//! What time alone changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::event::Effect;
use super::schedule::FETCH_STANDS_ASIDE;
use super::state::{DeviceSlot, Instance, Stage, State};
use crate::spec::Failure;

/// After a load that ran into its time limit: what took that long will not be
/// faster in a minute.
pub(super) const RETRY_AFTER_TIMEOUT: Duration = Duration::from_secs(300);

/// An engine process that lasts this long with nothing to load is stable: what
/// ended it before is over. Long, because a load alone proves nothing of the next.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(300);

impl State {
    /// Ends what has run out of time.
    pub(super) fn expire(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let loading = self.loading_devices();
        for (uuid, slot) in &mut self.devices {
            if !loading.contains(uuid) && slot.stable_at().is_some_and(|at| at <= now) {
                slot.deaths = 0;
                slot.last_death = None;
                slot.calm_since = None;
            }
        }
        let ids: Vec<_> = self.instances.keys().copied().collect();
        for id in ids {
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            let Some(at) = instance.deadline() else { continue };
            if at > now {
                continue;
            }
            let limit = instance.spec.load_timeout.as_secs();
            match &instance.stage {
                Stage::Fetching { progress, .. } => {
                    let (done, total) = (progress.done, progress.total);
                    instance.failures += 1;
                    instance.failure = Some(Failure::transient(
                        "FetchTimeout",
                        format!(
                            "{done} of {total} bytes came in {limit} s; what is here is kept and the rest is \
                             tried again; raise loadTimeout if the source is this slow"
                        ),
                    ));
                    instance.stage = Stage::Failed { retry_at: Some(now + RETRY_AFTER_TIMEOUT) };
                    effects.push(Effect::StopFetch(id));
                }
                Stage::Loading { .. } => {
                    instance.failures += 1;
                    instance.failure = Some(Failure::transient(
                        "LoadTimeout",
                        format!("the engine did not finish loading within {limit} s; raise loadTimeout"),
                    ));
                    self.unload_if(id, effects, |_| true);
                }
                Stage::Draining { .. } => self.unload_if(id, effects, |_| true),
                Stage::Failed { .. } | Stage::Waiting { .. } => {
                    instance.stage = Stage::Waiting { not_before: None };
                }
                Stage::Fetched | Stage::Ready | Stage::Unloading => {}
            }
        }
    }

    /// When time alone will change something, after `now`.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let loading = self.loading_devices();
        let calm = self.devices.iter().filter(|(uuid, _)| !loading.contains(*uuid));
        let stable = calm.filter_map(|(_, slot)| slot.stable_at());
        let aside = self.next_turn(now);
        self.instances.values().filter_map(Instance::deadline).chain(stable).chain(aside).min()
    }

    /// When the next fetch stands aside for one that waits, if one waits.
    fn next_turn(&self, now: Instant) -> Option<Instant> {
        let waits = |i: &Instance| i.stage == Stage::Waiting { not_before: None };
        let stands_aside = |i: &Instance| match i.stage {
            Stage::Fetching { since, .. } => Some(since + FETCH_STANDS_ASIDE).filter(|at| *at > now),
            _ => None,
        };
        self.instances.values().any(waits).then(|| self.instances.values().filter_map(stands_aside).min())?
    }

    /// Devices on which a load is under way, and with it a reason to end.
    fn loading_devices(&self) -> BTreeSet<String> {
        let loads = |i: &&Instance| matches!(i.stage, Stage::Loading { .. });
        self.instances.values().filter(loads).map(|i| i.spec.device.clone()).collect()
    }
}

impl DeviceSlot {
    /// When its engine process counts as stable again, if it does not now.
    fn stable_at(&self) -> Option<Instant> {
        self.calm_since.map(|since| since + STABLE_AFTER)
    }
}

impl Instance {
    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Waiting { not_before } => *not_before,
            Stage::Fetching { since, .. } | Stage::Loading { since, .. } => {
                Some(*since + self.spec.load_timeout)
            }
            Stage::Draining { until } => Some(*until),
            Stage::Failed { retry_at } => *retry_at,
            Stage::Fetched | Stage::Ready | Stage::Unloading => None,
        }
    }
}
