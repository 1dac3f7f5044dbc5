//! Reads the headers of the models' files, in the background.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use hearth_model::Dims;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::controller::trigger::Trigger;

/// Headers that are read at the same time.
const AT_ONCE: usize = 4;
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

/// Reads headers. Behind a trait so that tests need no network.
pub trait Headers: Send + Sync + 'static {
    /// Finds the file and reads its header.
    fn read(&self, ask: Ask, pinned: Option<String>) -> BoxFuture<'static, Result<Found, Refusal>>;
}

/// Reads headers in the background and remembers what it read.
pub struct Resolver {
    headers: Arc<dyn Headers>,
    permits: Arc<Semaphore>,
    trigger: Trigger,
    first_wait: Duration,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    ask: Ask,
    resolution: Arc<Mutex<Resolution>>,
    /// Reads, waits, reads again; ends when the header is known.
    _task: AbortOnDropHandle<()>,
}

impl Resolver {
    /// Reads through `headers`, and pulls `trigger` after each reading. After a
    /// failure that may pass it waits for `first_wait` before it tries again, then longer.
    pub fn new(headers: Arc<dyn Headers>, trigger: Trigger, first_wait: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        Self { headers, permits, trigger, first_wait, entries: BTreeMap::new() }
    }

    /// Sees to it that these questions, by the models' UIDs, are answered, and
    /// forgets all others. `pinned`: the revision that was answered before this
    /// process began.
    pub fn follow(&mut self, asks: BTreeMap<String, (Ask, Option<String>)>) {
        self.entries.retain(|uid, entry| asks.get(uid).is_some_and(|(ask, _)| *ask == entry.ask));
        for (uid, (ask, pinned)) in asks {
            if !self.entries.contains_key(&uid) {
                let entry = self.begin(ask, pinned);
                self.entries.insert(uid, entry);
            }
        }
    }

    /// What is known of a model's file.
    pub fn resolution(&self, uid: &str) -> Resolution {
        let lock = |entry: &Entry| entry.resolution.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.entries.get(uid).map_or(Resolution::Reading, lock)
    }

    fn begin(&self, ask: Ask, pinned: Option<String>) -> Entry {
        let resolution = Arc::new(Mutex::new(Resolution::Reading));
        let task = {
            let (headers, permits, trigger) =
                (self.headers.clone(), self.permits.clone(), self.trigger.clone());
            let (ask, resolution) = (ask.clone(), resolution.clone());
            let mut wait = self.first_wait;
            async move {
                loop {
                    let outcome = {
                        // The semaphore is never closed.
                        let _permit = permits.acquire().await;
                        headers.read(ask.clone(), pinned.clone()).await
                    };
                    let (next, known) = match outcome {
                        Ok(found) => {
                            info!(
                                uri = ask.uri,
                                url = found.url,
                                revision = found.revision,
                                "the header is read"
                            );
                            (Resolution::Known(Arc::new(found)), true)
                        }
                        Err(refusal) => {
                            warn!(uri = ask.uri, reason = refusal.reason, "{}", refusal.message);
                            if !refusal.passes {
                                wait = LONGEST_WAIT;
                            }
                            (Resolution::Refused(refusal), false)
                        }
                    };
                    *resolution.lock().unwrap_or_else(PoisonError::into_inner) = next;
                    trigger.pull();
                    if known {
                        return;
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        };
        Entry { ask, resolution, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

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
                    _ => Ok(Found {
                        url: ask.uri,
                        revision: None,
                        sha256: None,
                        size: 1,
                        architecture: "llama".to_owned(),
                        quantization: "F16".to_owned(),
                        dims: dims(),
                        token: Some(Token("secret".to_owned())),
                    }),
                }
            }
            .boxed()
        }
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
            vocab: 1,
            context_length: 1,
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
}
