//! Whole files, by their digest.
//!
//! ```text
//! blobs/sha256/<digest>    a whole file, checked; its time of change is its last use
//! partial/<key>            a file that is being fetched from one source
//! partial/<key>.json       what a resumed fetch must agree with
//! sources/<key>            the digest of what a source without one gave
//! ```
//!
//! A file is in `blobs` only after its digest was checked, its bytes were synced
//! and it was renamed: whatever is there is whole, also after a power cut.

mod collect;
mod download;
mod folder;
mod mounted;
mod partial;
mod retry;
mod room;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use collect::Collected;
use folder::{Folder, Key};
pub use retry::Retry;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

use crate::{Digest, FetchError, Location, Resolved, Sources, Token};

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here, or that have been hashed.
    pub done_bytes: u64,
    /// Bytes of the whole file.
    pub total_bytes: u64,
}

/// A whole file. While this lives, the store does not remove it.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Where to open it.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// `None` for a file on a claim, which the store does not own.
    _lease: Option<Arc<Lease>>,
}

/// Held by each [`Blob`] of one digest.
#[derive(Debug)]
struct Lease;

/// Held while a key is being fetched, also by the thread that writes.
type Gate = Arc<OwnedMutexGuard<()>>;

/// A folder of whole files. Cheap to clone; clones share what is in use.
/// One process a folder.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    retry: Retry,
    /// Bytes that it may hold; `None`: as many as the disk takes.
    quota: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    folder: Folder,
    state: Mutex<State>,
    /// Told of each file that has come.
    arrivals: Notify,
}

#[derive(Debug, Default)]
struct State {
    leases: HashMap<Digest, Weak<Lease>>,
    gates: HashMap<Key, Weak<AsyncMutex<()>>>,
    /// Whole sizes of the files that are being fetched: their room is taken.
    promised: HashMap<Key, u64>,
}

impl Store {
    /// Opens a store, making its folders.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn open(root: &Path) -> Result<Self, FetchError> {
        let folder = Folder::open(root)?;
        let shared = Arc::new(Shared { folder, state: Mutex::default(), arrivals: Notify::new() });
        Ok(Self { shared, retry: Retry::default(), quota: None })
    }

    /// The same store with another patience.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The same store, which fetches nothing that would bring it over this many
    /// bytes. What is there stays until [`Store::collect`] is called.
    #[must_use]
    pub fn with_quota(self, bytes: Option<u64>) -> Self {
        Self { quota: bytes, ..self }
    }

    /// The file, fetched if it is not here. `progress` is called often: at each
    /// piece that comes. Several callers of one file from one source share one
    /// fetch; from several sources, the first whole one is everybody's. A call that
    /// is dropped leaves what came for the next one to resume.
    ///
    /// # Errors
    /// After the last retry of what may pass, at once for what may not.
    pub async fn fetch(
        &self,
        sources: &Sources,
        resolved: &Resolved,
        token: Option<&Token>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Blob, FetchError> {
        let key = Key::of(resolved);
        let gate: Gate = Arc::new(self.gate(&key).lock_owned().await);
        let url = match &resolved.location {
            Location::Web(url) => url,
            Location::Claim { claim, path } => {
                return self.mounted(sources, resolved, claim, path, progress).await;
            }
        };
        let known = resolved.sha256.or_else(|| self.recorded(resolved));
        if let Some(blob) = known.and_then(|digest| self.get(digest)) {
            progress(Progress { done_bytes: blob.size_bytes, total_bytes: blob.size_bytes });
            return Ok(blob);
        }
        let job = download::Job { store: self, sources, url, resolved, token, key: &key, gate };
        let digest = tokio::select! {
            biased;
            fetched = job.run(&self.retry, progress) => fetched?,
            blob = self.arrival(known) => {
                self.shared.folder.discard(&key);
                progress(Progress { done_bytes: blob.size_bytes, total_bytes: blob.size_bytes });
                return Ok(blob);
            }
        };
        self.shared.arrivals.notify_waiters();
        if resolved.sha256.is_none() {
            self.record(resolved, digest)?;
        }
        self.get(digest).ok_or_else(|| FetchError::Io {
            doing: "finding",
            path: self.shared.folder.blob(digest),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// Waits until another source has brought the file of a digest.
    async fn arrival(&self, digest: Option<Digest>) -> Blob {
        let Some(digest) = digest else { return std::future::pending().await };
        loop {
            let mut next = pin!(self.shared.arrivals.notified());
            // From now on none is missed.
            next.as_mut().enable();
            if let Some(blob) = self.get(digest) {
                return blob;
            }
            next.await;
        }
    }

    /// The file of a digest, if it is here.
    #[must_use]
    pub fn get(&self, digest: Digest) -> Option<Blob> {
        // Under the lock, so that it is not removed between the look and the lease.
        let mut state = self.state();
        let path = self.shared.folder.blob(digest);
        let size_bytes = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
        folder::touch(&path);
        let lease = state.leases.get(&digest).and_then(Weak::upgrade).unwrap_or_else(|| {
            let lease = Arc::new(Lease);
            state.leases.insert(digest, Arc::downgrade(&lease));
            lease
        });
        Some(Blob { path, sha256: digest, size_bytes, _lease: Some(lease) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds it can panic half-way through a change.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self, key: &Key) -> Arc<AsyncMutex<()>> {
        let mut state = self.state();
        state.gates.retain(|_, gate| gate.strong_count() > 0);
        if let Some(gate) = state.gates.get(key).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Arc::new(AsyncMutex::new(()));
        state.gates.insert(key.clone(), Arc::downgrade(&gate));
        gate
    }

    /// The digest that a source without one gave before; a source that does not
    /// name its versions is asked again.
    #[must_use]
    pub fn recorded(&self, resolved: &Resolved) -> Option<Digest> {
        if resolved.revision.is_empty() {
            return None;
        }
        self.shared.folder.recorded(&Key::of_source(resolved))
    }

    fn record(&self, resolved: &Resolved, digest: Digest) -> Result<(), FetchError> {
        self.shared.folder.record(&Key::of_source(resolved), digest)
    }
}
