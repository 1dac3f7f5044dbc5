//! Which models sleep: unloaded because nobody asked for them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::controller::look::ModelActivity;

/// Which models sleep, and since when the others were not asked for.
#[derive(Debug, Default)]
pub(super) struct Wakefulness(BTreeMap<String, Model>);

#[derive(Debug, Clone, Copy)]
struct Model {
    asleep: bool,
    asked: Instant,
}

/// What is known of a model in this round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sign {
    /// `spec.idleAfter`
    pub idle_after: Option<Duration>,
    /// What the gateways told.
    pub activity: ModelActivity,
    /// Whether all its replicas answer requests. The time that it takes to load
    /// is not idleness.
    pub ready: bool,
    /// Whether it slept when an earlier leader wrote its status.
    pub slept: bool,
}

impl Wakefulness {
    /// Whether a model shall sleep now.
    pub(super) fn sleeps(&mut self, uid: &str, sign: Sign, at: Instant) -> bool {
        let Some(idle_after) = sign.idle_after else {
            self.0.remove(uid);
            return false;
        };
        let model = self.0.entry(uid.to_owned()).or_insert(Model { asleep: sign.slept, asked: at });
        if sign.activity.is_asked_for() {
            *model = Model { asleep: false, asked: at };
        } else if !model.asleep {
            if !sign.ready {
                model.asked = at;
            } else if let Some(idle) = sign.activity.idle {
                let asked = at.checked_sub(idle).unwrap_or(model.asked);
                model.asked = model.asked.max(asked);
            }
            model.asleep = at.saturating_duration_since(model.asked) >= idle_after;
        }
        model.asleep
    }

    /// When the next model may fall asleep.
    pub(super) fn next(&self, uid: &str, idle_after: Option<Duration>) -> Option<Instant> {
        let model = self.0.get(uid).filter(|model| !model.asleep)?;
        Some(model.asked + idle_after?)
    }

    /// Forgets models that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| exists(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sign(waiting: u32, idle: Option<Duration>) -> Sign {
        Sign {
            idle_after: Some(10 * MINUTE),
            activity: ModelActivity { waiting, running: 0, idle },
            ready: true,
            slept: false,
        }
    }

    #[test]
    fn a_model_sleeps_when_nobody_asked_for_it_long_enough_and_wakes_when_somebody_does() {
        let (mut all, at) = (Wakefulness::default(), Instant::now());
        assert!(!all.sleeps("m", sign(0, None), at));
        assert!(!all.sleeps("m", sign(0, Some(MINUTE)), at + 9 * MINUTE));
        assert!(!all.sleeps("m", sign(0, None), at + 17 * MINUTE), "asked at minute 8");
        assert_eq!(all.next("m", Some(10 * MINUTE)), Some(at + 18 * MINUTE));
        assert!(all.sleeps("m", sign(0, None), at + 18 * MINUTE));
        assert!(
            all.sleeps("m", sign(0, Some(Duration::ZERO)), at + 19 * MINUTE),
            "a fresh gateway wakes nobody"
        );
        assert!(!all.sleeps("m", sign(1, None), at + 20 * MINUTE));
        assert!(!all.sleeps("m", sign(0, None), at + 29 * MINUTE));
    }

    #[test]
    fn loading_is_not_idleness_and_a_sleeper_sleeps_on_under_a_new_leader() {
        let (mut all, at) = (Wakefulness::default(), Instant::now());
        let loading = Sign { ready: false, ..sign(0, None) };
        assert!(!all.sleeps("m", loading, at));
        assert!(!all.sleeps("m", loading, at + 60 * MINUTE));
        let slept = Sign { slept: true, ..sign(0, None) };
        assert!(all.sleeps("n", slept, at));
        let never = Sign { idle_after: None, ..slept };
        assert!(!all.sleeps("n", never, at));
    }
}
