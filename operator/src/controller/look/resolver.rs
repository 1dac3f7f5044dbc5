//! Reads the headers of the models' files, in the background.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use hearth_model::Dims;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::controller::trigger::Trigger;

/// Headers of one namespace that are read at the same time. Each namespace has
/// its own, so that nobody's slow source keeps others waiting.
const AT_ONCE: usize = 4;
/// A header is a few MiB at the most: a source that takes longer to give it does
/// not want to.
const READS_WITHIN: Duration = Duration::from_secs(60);
/// A credential is read anew this often, for it may have been replaced,
const REFRESH: Duration = Duration::from_secs(10 * 60);
/// and at once when a worker was refused with it. What workers doubt is looked into
/// no more often than this.
const DOUBTS_APART: Duration = Duration::from_secs(15);
/// The first wait after a failure that may pass; it doubles with each further one.
pub const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait, also after a failure that does not pass by itself: someone
/// may put the file there.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is to be found out about a model's file. Equal questions have equal answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The model's namespace, where its Secret lies.
    pub namespace: String,
    /// `spec.source.uri`
    pub uri: String,
    /// `spec.source.sha256`
    pub sha256: Option<String>,
    /// `spec.source.secretRef.name`
    pub secret: Option<String>,
    /// `spec.quantization`
    pub quantization: String,
}

/// A file whose header was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Where the bytes are.
    pub url: String,
    /// What the source calls this version.
    pub revision: Option<String>,
    /// The digest, where the source or the spec names one.
    pub sha256: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// The architecture.
    pub architecture: String,
    /// The quantization of most of its weights.
    pub quantization: String,
    /// What its memory depends on.
    pub dims: Dims,
    /// What the source asks for with each request.
    pub token: Option<Token>,
}

/// A credential. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a header was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The condition's reason: one CamelCase word.
    pub reason: &'static str,
    /// A sentence: what failed, with the value, and what to do.
    pub message: String,
    /// Whether it may pass by itself.
    pub passes: bool,
}

/// How far a model's file is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    /// Its header is being read.
    Reading,
    /// It is known.
    Known(Arc<Found>),
    /// It was not read; it is tried again.
    Refused(Refusal),
}

/// What a worker met that does not fit with what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// The source refused the credential.
    Credential,
    /// The source has another version of the file, and nobody serves the one that
    /// was found.
    Version,
}

/// Reads headers. Behind a trait so that tests need no network.
pub trait Headers: Send + Sync + 'static {
    /// Finds the file and reads its header.
    fn read(&self, ask: Ask, pinned: Option<String>) -> BoxFuture<'static, Result<Found, Refusal>>;
}

/// Reads headers in the background and remembers what it read.
pub struct Resolver {
    headers: Arc<dyn Headers>,
    /// By namespace.
    permits: BTreeMap<String, Arc<Semaphore>>,
    trigger: Trigger,
    first_wait: Duration,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    ask: Ask,
    resolution: Arc<Mutex<Resolution>>,
    doubts: Arc<Doubts>,
    /// Reads, waits, reads again.
    task: AbortOnDropHandle<()>,
}

/// Doubts that wait to be looked into.
#[derive(Debug, Default)]
struct Doubts {
    /// Whether the version is among them.
    version: AtomicBool,
    any: Notify,
}

impl Resolver {
    /// Reads through `headers`, and pulls `trigger` after each reading. After a
    /// failure that may pass it waits for `first_wait` before it tries again, then longer.
    pub fn new(headers: Arc<dyn Headers>, trigger: Trigger, first_wait: Duration) -> Self {
        Self { headers, permits: BTreeMap::new(), trigger, first_wait, entries: BTreeMap::new() }
    }

    /// Sees to it that these questions, by the models' UIDs, are answered, and
    /// forgets all others. `pinned`: the revision that was answered before this
    /// process began.
    pub fn follow(&mut self, asks: BTreeMap<String, (Ask, Option<String>)>) {
        self.entries.retain(|uid, entry| {
            let stays = asks.get(uid).is_some_and(|(ask, _)| *ask == entry.ask);
            let died = entry.task.is_finished();
            if stays && died {
                error!(uri = entry.ask.uri, "the task that reads a header ended; it is started again");
            }
            stays && !died
        });
        for (uid, (ask, pinned)) in asks {
            if !self.entries.contains_key(&uid) {
                let entry = self.begin(ask, pinned);
                self.entries.insert(uid, entry);
            }
        }
        let entries = &self.entries;
        self.permits.retain(|namespace, _| entries.values().any(|entry| entry.ask.namespace == *namespace));
    }

    /// What was found for a model is looked into soon: a credential that was replaced
    /// is taken up, and of a doubted version, whatever the source has now. Nothing
    /// happens for the credential of a model without one.
    pub fn doubt(&self, uid: &str, doubt: Doubt) {
        let Some(entry) = self.entries.get(uid) else { return };
        match doubt {
            Doubt::Credential if entry.ask.secret.is_none() => return,
            Doubt::Credential => {}
            Doubt::Version => entry.doubts.version.store(true, Ordering::Relaxed),
        }
        entry.doubts.any.notify_one();
    }

    /// What is known of a model's file.
    pub fn resolution(&self, uid: &str) -> Resolution {
        let lock = |entry: &Entry| entry.resolution.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.entries.get(uid).map_or(Resolution::Reading, lock)
    }

    fn begin(&mut self, ask: Ask, pinned: Option<String>) -> Entry {
        let permits = self.permits.entry(ask.namespace.clone());
        let reading = Reading {
            headers: self.headers.clone(),
            permits: permits.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone(),
            trigger: self.trigger.clone(),
            ask: ask.clone(),
            pinned,
            resolution: Arc::new(Mutex::new(Resolution::Reading)),
            doubts: Arc::default(),
        };
        let (resolution, doubts) = (reading.resolution.clone(), reading.doubts.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(reading.run(self.first_wait)));
        Entry { ask, resolution, doubts, task }
    }
}

/// The reading of one model's header.
struct Reading {
    headers: Arc<dyn Headers>,
    permits: Arc<Semaphore>,
    trigger: Trigger,
    ask: Ask,
    pinned: Option<String>,
    resolution: Arc<Mutex<Resolution>>,
    doubts: Arc<Doubts>,
}

impl Reading {
    async fn run(self, first_wait: Duration) {
        let mut wait = first_wait;
        loop {
            match self.read(self.pinned.clone()).await {
                Ok(found) => {
                    let Found { url, revision, .. } = &found;
                    info!(uri = self.ask.uri, url, revision, "the header is read");
                    self.set(Resolution::Known(Arc::new(found)));
                    break;
                }
                Err(refusal) => {
                    warn!(uri = self.ask.uri, reason = refusal.reason, "{}", refusal.message);
                    if !refusal.passes {
                        wait = LONGEST_WAIT;
                    }
                    self.set(Resolution::Refused(refusal));
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        self.look_into_doubts().await;
    }

    /// Of a file that is known nothing is taken up but a new credential, as long as
    /// somebody serves it: whether that is loaded anew is for those to say who name it.
    async fn look_into_doubts(&self) {
        loop {
            tokio::time::sleep(DOUBTS_APART).await;
            if self.ask.secret.is_some() {
                // Either way it is time.
                let _ = tokio::time::timeout(REFRESH, self.doubts.any.notified()).await;
            } else {
                self.doubts.any.notified().await;
            }
            let is_changed = self.doubts.version.swap(false, Ordering::Relaxed);
            let pinned = self.pinned.clone().filter(|_| !is_changed);
            let fresh = match self.read(pinned).await {
                Ok(found) => found,
                Err(refusal) => {
                    warn!(uri = self.ask.uri, reason = refusal.reason, "{}", refusal.message);
                    continue;
                }
            };
            let known = self.lock().clone();
            let Resolution::Known(found) = known else { continue };
            if is_changed && fresh != *found {
                let Found { url, revision, .. } = &fresh;
                info!(uri = self.ask.uri, url, revision, "the source has another version");
                self.set(Resolution::Known(Arc::new(fresh)));
            } else if found.token != fresh.token {
                info!(uri = self.ask.uri, "the credential was replaced");
                let renewed = Found { token: fresh.token, ..Found::clone(&found) };
                self.set(Resolution::Known(Arc::new(renewed)));
            }
        }
    }

    async fn read(&self, pinned: Option<String>) -> Result<Found, Refusal> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let read = self.headers.read(self.ask.clone(), pinned);
        tokio::time::timeout(READS_WITHIN, read).await.unwrap_or_else(|_| {
            let message = format!(
                "{} did not give the file's header within {} s; it is asked again",
                self.ask.uri,
                READS_WITHIN.as_secs()
            );
            Err(Refusal { reason: "SourceTimeout", message, passes: true })
        })
    }

    fn set(&self, resolution: Resolution) {
        *self.lock() = resolution;
        self.trigger.pull();
    }

    fn lock(&self) -> MutexGuard<'_, Resolution> {
        // Nothing that holds the lock can leave it half-written.
        self.resolution.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use futures::FutureExt;

    use super::*;

    struct Fake(Arc<AtomicU32>);

    impl Headers for Fake {
        fn read(&self, ask: Ask, _: Option<String>) -> BoxFuture<'static, Result<Found, Refusal>> {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            async move {
                match n {
                    0 => Err(Refusal {
                        reason: "SourceUnreachable",
                        message: format!("{} does not answer", ask.uri),
                        passes: true,
                    }),
                    n => Ok(found(ask.uri, n)),
                }
            }
            .boxed()
        }
    }

    fn found(url: String, nth: u32) -> Found {
        Found {
            url,
            revision: Some(format!("revision {nth}")),
            sha256: None,
            size: 1,
            architecture: "llama".to_owned(),
            quantization: "F16".to_owned(),
            dims: dims(),
            token: Some(Token(format!("secret {nth}"))),
        }
    }

    /// Never answers about `slow`.
    struct Stuck;

    impl Headers for Stuck {
        fn read(&self, ask: Ask, _: Option<String>) -> BoxFuture<'static, Result<Found, Refusal>> {
            match ask.namespace.as_str() {
                "slow" => std::future::pending().boxed(),
                _ => std::future::ready(Ok(found(ask.uri, 0))).boxed(),
            }
        }
    }

    /// Falls over the first header, and over no other.
    struct Clumsy(Arc<AtomicU32>);

    impl Headers for Clumsy {
        fn read(&self, ask: Ask, _: Option<String>) -> BoxFuture<'static, Result<Found, Refusal>> {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(n > 0, "a header that nobody thought of");
                Ok(found(ask.uri, n))
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_died_is_begun_again() {
        let trigger = Trigger::default();
        let mut resolver = Resolver::new(Arc::new(Clumsy(Arc::default())), trigger.clone(), FIRST_WAIT);
        resolver.follow(asks("https://a/x.gguf"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(resolver.resolution("uid"), Resolution::Reading);
        resolver.follow(asks("https://a/x.gguf"));
        tokio::time::timeout(READS_WITHIN, trigger.pulled()).await.expect("nobody reads it");
        assert!(matches!(resolver.resolution("uid"), Resolution::Known(_)));
    }

    fn dims() -> Dims {
        Dims {
            layers: 1,
            heads: 1,
            kv_heads: 1,
            head_dim_k: 1,
            head_dim_v: 1,
            embedding: 1,
            ffn: 1,
            experts: 0,
            experts_used: 0,
            vocab: 1,
            context_length: 1,
            windowed_layers: 0,
            window: 0,
            sees_ahead: false,
            weights_f32_bytes: 1,
            weights_packed_bytes: 1,
        }
    }

    fn asks(uri: &str) -> BTreeMap<String, (Ask, Option<String>)> {
        let ask = Ask {
            namespace: "default".to_owned(),
            uri: uri.to_owned(),
            sha256: None,
            secret: None,
            quantization: "Auto".to_owned(),
        };
        BTreeMap::from([("uid".to_owned(), (ask, None))])
    }

    #[tokio::test]
    async fn a_failure_is_told_and_tried_again() {
        let (calls, trigger) = (Arc::new(AtomicU32::new(0)), Trigger::default());
        let mut resolver =
            Resolver::new(Arc::new(Fake(calls.clone())), trigger.clone(), Duration::from_millis(1));
        resolver.follow(asks("https://a/x.gguf"));
        trigger.pulled().await;
        assert!(
            matches!(resolver.resolution("uid"), Resolution::Refused(r) if r.message.contains("https://a/x.gguf"))
        );
        trigger.pulled().await;
        let Resolution::Known(found) = resolver.resolution("uid") else { panic!("not known") };
        assert!(!format!("{found:?}").contains("secret"));
        resolver.follow(asks("https://a/x.gguf"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(calls.load(Ordering::SeqCst), 2, "what is known is not asked again");
        resolver.follow(asks("https://a/y.gguf"));
        assert_eq!(resolver.resolution("uid"), Resolution::Reading);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_never_answers_is_given_up_and_keeps_nobody_else_waiting() {
        let trigger = Trigger::default();
        let mut resolver = Resolver::new(Arc::new(Stuck), trigger.clone(), FIRST_WAIT);
        let ask =
            |namespace: &str| Ask { namespace: namespace.to_owned(), ..asks("https://a/x")["uid"].0.clone() };
        let mut all: BTreeMap<String, (Ask, Option<String>)> =
            (0..9).map(|n| (format!("slow-{n}"), (ask("slow"), None))).collect();
        all.insert("fast".to_owned(), (ask("fast"), None));
        resolver.follow(all);
        trigger.pulled().await;
        assert!(matches!(resolver.resolution("fast"), Resolution::Known(_)));
        assert_eq!(resolver.resolution("slow-0"), Resolution::Reading);
        tokio::time::sleep(READS_WITHIN + Duration::from_secs(1)).await;
        let Resolution::Refused(refusal) = resolver.resolution("slow-0") else { panic!("not refused") };
        assert_eq!((refusal.reason, refusal.passes), ("SourceTimeout", true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_that_was_replaced_is_found_and_nothing_else_changes() {
        let (calls, trigger) = (Arc::new(AtomicU32::new(1)), Trigger::default());
        let mut resolver = Resolver::new(Arc::new(Fake(calls)), trigger.clone(), FIRST_WAIT);
        let mut asks = asks("https://a/x.gguf");
        asks.get_mut("uid").unwrap().0.secret = Some("credentials".to_owned());
        resolver.follow(asks);
        let token = |resolver: &Resolver| {
            let Resolution::Known(found) = resolver.resolution("uid") else { panic!("not known") };
            assert_eq!(found.revision.as_deref(), Some("revision 1"));
            found.token.clone().unwrap().0
        };
        trigger.pulled().await;
        assert_eq!(token(&resolver), "secret 1");
        tokio::time::sleep(DOUBTS_APART * 2).await;
        assert_eq!(token(&resolver), "secret 1", "nobody was refused");
        resolver.doubt("uid", Doubt::Credential);
        trigger.pulled().await;
        assert_eq!(token(&resolver), "secret 2");
        tokio::time::sleep(DOUBTS_APART + REFRESH + Duration::from_secs(1)).await;
        assert_eq!(token(&resolver), "secret 3", "in case nobody tells");
    }

    #[tokio::test(start_paused = true)]
    async fn another_version_is_taken_up_when_the_one_that_was_found_is_doubted() {
        let (calls, trigger) = (Arc::new(AtomicU32::new(1)), Trigger::default());
        let mut resolver = Resolver::new(Arc::new(Fake(calls.clone())), trigger.clone(), FIRST_WAIT);
        resolver.follow(asks("https://a/x.gguf"));
        let revision = |resolver: &Resolver| {
            let Resolution::Known(found) = resolver.resolution("uid") else { panic!("not known") };
            found.revision.clone().unwrap()
        };
        trigger.pulled().await;
        assert_eq!(revision(&resolver), "revision 1");
        resolver.doubt("uid", Doubt::Credential);
        tokio::time::sleep(DOUBTS_APART * 2).await;
        assert_eq!(calls.load(Ordering::SeqCst), 2, "it needs no credential");
        // Said in every round for as long as it is so: one reading is enough.
        for _ in 0..3 {
            resolver.doubt("uid", Doubt::Version);
        }
        trigger.pulled().await;
        assert_eq!((revision(&resolver).as_str(), calls.load(Ordering::SeqCst)), ("revision 2", 3));
    }
}
