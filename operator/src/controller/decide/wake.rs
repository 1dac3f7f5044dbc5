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
    /// When this was last looked at.
    seen: Instant,
}

/// What is known of a model in this round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sign {
    /// `spec.idleAfter`
    pub idle_after: Option<Duration>,
    /// What the gateways told.
    pub activity: ModelActivity,
    /// Whether any gateway tells. While none does, requests come and go unseen, and
    /// time does not count as idle.
    pub heard: bool,
    /// Whether a worker tells of requests that one of its replicas is answering.
    pub busy: bool,
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
        let new = Model { asleep: sign.slept, asked: at, seen: at };
        let model = self.0.entry(uid.to_owned()).or_insert(new);
        let passed = at.saturating_duration_since(model.seen);
        model.seen = at;
        if sign.activity.is_asked_for() {
            *model = Model { asleep: false, asked: at, seen: at };
        } else if !model.asleep {
            // What ends while a model falls asleep does not wake it.
            if !sign.ready || sign.busy {
                model.asked = at;
            } else if !sign.heard {
                model.asked = (model.asked + passed).min(at);
            } else if let Some(idle) = sign.activity.idle {
                let asked = at.checked_sub(idle).unwrap_or(model.asked);
                model.asked = model.asked.max(asked);
            }
            model.asleep = at.saturating_duration_since(model.asked) >= idle_after;
        }
        model.asleep
    }

    /// When a model may fall asleep next.
    pub(super) fn next(&self, uid: &str, sign: Sign) -> Option<Instant> {
        let model = self.0.get(uid).filter(|model| !model.asleep && sign.heard)?;
        Some(model.asked + sign.idle_after?)
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
            heard: true,
            busy: false,
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
        assert_eq!(all.next("m", sign(0, None)), Some(at + 18 * MINUTE));
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
    #[test]
    fn time_in_which_no_gateway_tells_is_not_idle() {
        let (mut all, at) = (Wakefulness::default(), Instant::now());
        let unheard = Sign { heard: false, ..sign(0, None) };
        assert!(!all.sleeps("m", sign(0, None), at));
        assert!(!all.sleeps("m", sign(0, None), at + 4 * MINUTE));
        for minute in [5, 30, 64] {
            assert!(!all.sleeps("m", unheard, at + minute * MINUTE));
        }
        assert_eq!(all.next("m", unheard), None, "nothing happens by waiting");
        assert!(!all.sleeps("m", sign(0, None), at + 65 * MINUTE));
        assert_eq!(all.next("m", sign(0, None)), Some(at + 70 * MINUTE));
        assert!(all.sleeps("m", sign(0, None), at + 70 * MINUTE));
        assert!(all.sleeps("m", unheard, at + 71 * MINUTE), "nobody wakes it");
    }

    #[test]
    fn what_answers_requests_does_not_fall_asleep_whoever_sent_them() {
        let (mut all, at) = (Wakefulness::default(), Instant::now());
        let busy = Sign { busy: true, ..sign(0, None) };
        assert!(!all.sleeps("m", busy, at));
        assert!(!all.sleeps("m", busy, at + 20 * MINUTE));
        assert!(!all.sleeps("m", sign(0, None), at + 29 * MINUTE));
        assert!(all.sleeps("m", sign(0, None), at + 30 * MINUTE));
        assert!(all.sleeps("m", busy, at + 31 * MINUTE), "its last request ends while it is unloaded");
    }
}
