//! What the gateways tell of the models' requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hearth_proto::control::v1::ReportRequest;

use super::super::trigger::Trigger;

/// A model's requests, over all gateways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelActivity {
    /// Requests held until a replica can take them.
    pub waiting: u32,
    /// Requests that a replica is answering.
    pub running: u32,
    /// Since the last request began or ended, where a gateway knows.
    pub idle: Option<Duration>,
}

impl ModelActivity {
    /// Whether there is a request right now.
    pub fn is_asked_for(&self) -> bool {
        self.waiting > 0 || self.running > 0
    }
}

/// The gateways' reports, each for as long as its stream lives.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    sessions: BTreeMap<u64, (Instant, ReportRequest)>,
}

/// One gateway's stream. Dropped with it, and what it told is forgotten.
#[derive(Debug)]
pub struct Session {
    activity: Activity,
    id: u64,
    trigger: Trigger,
}

impl Activity {
    /// A gateway opened its stream.
    pub fn open(&self, trigger: &Trigger) -> Session {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        Session { activity: self.clone(), id, trigger: trigger.clone() }
    }

    /// What all gateways told, by namespace and name.
    pub fn models(&self, now: Instant) -> BTreeMap<(String, String), ModelActivity> {
        let mut models: BTreeMap<(String, String), ModelActivity> = BTreeMap::new();
        for (at, report) in self.lock().sessions.values() {
            let age = now.saturating_duration_since(*at);
            for told in &report.models {
                let model = models.entry((told.namespace.clone(), told.name.clone())).or_default();
                model.waiting = model.waiting.saturating_add(told.waiting);
                model.running = model.running.saturating_add(told.running);
                let idle = told.idle.and_then(|idle| Duration::try_from(idle).ok()).map(|idle| idle + age);
                model.idle = match (model.idle, idle) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
        models
    }

    /// Whether any gateway tells.
    pub fn is_heard(&self) -> bool {
        !self.lock().sessions.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave the state half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// The gateway told its whole activity.
    pub fn told(&self, report: ReportRequest) {
        self.activity.lock().sessions.insert(self.id, (Instant::now(), report));
        self.trigger.pull();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.activity.lock().sessions.remove(&self.id);
        self.trigger.pull();
    }
}

#[cfg(test)]
mod tests {
    use hearth_proto::control::v1;

    use super::*;

    fn report(waiting: u32, idle: u64) -> ReportRequest {
        ReportRequest {
            gateway: "g".to_owned(),
            models: vec![v1::ModelActivity {
                namespace: "default".to_owned(),
                name: "chat".to_owned(),
                waiting,
                idle: Some(prost_types::Duration { seconds: i64::try_from(idle).unwrap(), nanos: 0 }),
                ..v1::ModelActivity::default()
            }],
        }
    }

    #[test]
    fn reports_add_up_and_end_with_their_stream() {
        let (activity, trigger) = (Activity::default(), Trigger::default());
        let first = activity.open(&trigger);
        let second = activity.open(&trigger);
        assert!(!activity.is_heard(), "nothing was told yet");
        first.told(report(1, 60));
        second.told(report(2, 30));
        let key = ("default".to_owned(), "chat".to_owned());
        let later = Instant::now() + Duration::from_secs(10);
        let told = activity.models(later)[&key];
        assert_eq!(told.waiting, 3);
        assert!((39..=40).contains(&told.idle.unwrap().as_secs()), "the least, aged since it was told");
        drop(second);
        let told = activity.models(later)[&key];
        assert_eq!((told.waiting, told.idle.unwrap().as_secs() / 10), (1, 7));
        assert!(activity.is_heard());
        drop(first);
        assert!(!activity.is_heard());
        assert!(activity.models(later).is_empty());
    }
}
