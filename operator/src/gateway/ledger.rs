//! What is going on, model by model: for the controller's report and for the metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hearth_proto::inference::v1::Usage;
use tokio::{sync::watch, time::Instant};

use super::routes::{Routes, facts::ModelKey};

/// Counts of all models that were ever asked for.
#[derive(Debug)]
pub struct Ledger {
    models: Mutex<BTreeMap<ModelKey, Entry>>,
    /// The number of changes so far.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    served_name: String,
    waiting: u32,
    running: u32,
    touched: Instant,
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// A model's counts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The model.
    pub key: ModelKey,
    /// The name it was last asked for by.
    pub served_name: String,
    /// Requests held until a replica can take them.
    pub waiting: u32,
    /// Requests that a replica is answering.
    pub running: u32,
    /// Since the last request began or ended.
    pub idle: Duration,
    /// Since the gateway started.
    pub prompt_tokens: u64,
    /// Since the gateway started.
    pub completion_tokens: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { models: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Ledger {
    /// Counts a request in, as waiting, until the returned entry is dropped.
    pub fn begin(self: &Arc<Self>, key: &ModelKey, served_name: &str) -> Counted {
        self.edit(key, |entry| {
            served_name.clone_into(&mut entry.served_name);
            entry.waiting += 1;
        });
        Counted { ledger: self.clone(), key: key.clone(), running: false }
    }

    /// All counts, ordered by model.
    pub fn snapshot(&self) -> Vec<Activity> {
        let now = Instant::now();
        self.lock()
            .iter()
            .map(|(key, entry)| Activity {
                key: key.clone(),
                served_name: entry.served_name.clone(),
                waiting: entry.waiting,
                running: entry.running,
                idle: now.saturating_duration_since(entry.touched),
                prompt_tokens: entry.prompt_tokens,
                completion_tokens: entry.completion_tokens,
            })
            .collect()
    }

    /// Tells of each change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Forgets models that are gone and that nobody uses.
    pub fn retain(&self, routes: &Routes) {
        let known = |key: &ModelKey| routes.iter().any(|(_, route)| route.key == *key);
        let mut models = self.lock();
        let before = models.len();
        models.retain(|key, entry| entry.waiting > 0 || entry.running > 0 || known(key));
        let changed = models.len() != before;
        drop(models);
        if changed {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    fn edit(&self, key: &ModelKey, edit: impl FnOnce(&mut Entry)) {
        let mut models = self.lock();
        let entry = models.entry(key.clone()).or_insert_with(|| Entry {
            served_name: String::new(),
            waiting: 0,
            running: 0,
            touched: Instant::now(),
            prompt_tokens: 0,
            completion_tokens: 0,
        });
        entry.touched = Instant::now();
        edit(entry);
        drop(models);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ModelKey, Entry>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request in the ledger: waiting or running. Dropping it counts the request out.
#[derive(Debug)]
pub struct Counted {
    ledger: Arc<Ledger>,
    key: ModelKey,
    running: bool,
}

impl Counted {
    /// A replica has the request.
    pub fn running(&mut self) {
        self.set(true);
    }

    /// The request is held again.
    pub fn waiting(&mut self) {
        self.set(false);
    }

    /// Adds what the request used.
    pub fn used(&self, usage: &Usage) {
        self.ledger.edit(&self.key, |entry| {
            entry.prompt_tokens += u64::from(usage.prompt_tokens);
            entry.completion_tokens += u64::from(usage.completion_tokens);
        });
    }

    fn set(&mut self, running: bool) {
        if self.running == running {
            return;
        }
        self.running = running;
        self.ledger.edit(&self.key, |entry| {
            let (from, to) = if running {
                (&mut entry.waiting, &mut entry.running)
            } else {
                (&mut entry.running, &mut entry.waiting)
            };
            *from = from.saturating_sub(1);
            *to += 1;
        });
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let running = self.running;
        self.ledger.edit(&self.key, |entry| {
            let count = if running { &mut entry.running } else { &mut entry.waiting };
            *count = count.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_counted_where_it_is() {
        let ledger = Arc::new(Ledger::default());
        let key = ModelKey { namespace: "default".into(), name: "m".into() };
        let counts =
            || ledger.snapshot().first().map(|activity| (activity.waiting, activity.running)).unwrap();
        let mut changes = ledger.subscribe();
        let mut request = ledger.begin(&key, "chat");
        assert_eq!(counts(), (1, 0));
        request.running();
        request.running();
        assert_eq!(counts(), (0, 1));
        request.waiting();
        assert_eq!(counts(), (1, 0));
        request.running();
        request.used(&Usage { prompt_tokens: 3, completion_tokens: 4, cached_tokens: 0 });
        drop(request);
        assert_eq!(counts(), (0, 0));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        tokio::time::advance(Duration::from_secs(5)).await;
        let activity = ledger.snapshot().remove(0);
        assert_eq!((activity.prompt_tokens, activity.completion_tokens), (3, 4));
        assert_eq!(activity.idle, Duration::from_secs(5));
        ledger.retain(&Routes::default());
        assert!(ledger.snapshot().is_empty());
        assert!(changes.has_changed().unwrap());
    }
}
