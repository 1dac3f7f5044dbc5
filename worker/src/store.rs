//! The files of models, on this machine.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hearth_source::{
    Blob, Digest, FetchError, Location, Policy, Progress, Resolved, SetupError, Sources, Store,
};

use crate::convert::StoreUse;
use crate::spec::{Failure, FileSpec};

/// The store, and the sources that it is filled from. Clones are the same store.
#[derive(Clone, Debug)]
pub struct ModelStore {
    store: Store,
    sources: Sources,
    quota: Option<u64>,
    /// Files of the replicas of this worker; `None` until that is known, and nothing
    /// is removed before.
    wanted: Arc<Mutex<Option<Vec<FileSpec>>>>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The sources cannot be set up.
    #[error("cannot set up the sources of model files")]
    Sources(#[from] SetupError),
    /// The folder cannot be used.
    #[error("cannot open the model store")]
    Store(#[from] FetchError),
}

impl ModelStore {
    /// Opens the store in this folder, which may take `quota` bytes; `None`: as many
    /// as the disk holds.
    ///
    /// # Errors
    /// When the folder cannot be written to, or the policy's certificates cannot
    /// be read.
    pub fn open(folder: &Path, policy: Policy, quota: Option<u64>) -> Result<Self, StoreError> {
        let store = Store::open(folder)?.with_quota(quota);
        Ok(Self { sources: Sources::new(policy)?, store, quota, wanted: Arc::default() })
    }

    /// Says which files replicas of this worker need: they never make room for others.
    pub fn want(&self, files: Vec<FileSpec>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(files);
    }

    /// The file, fetched if it is not here. `progress` takes bytes done and
    /// bytes in all. If there is no room, files that are neither in use nor wanted
    /// make it: until then they are kept, so that a model that comes back is not
    /// fetched again.
    ///
    /// # Errors
    /// What the controller is told.
    pub async fn fetch(
        &self,
        file: &FileSpec,
        progress: impl Fn(u64, u64) + Send + Sync,
    ) -> Result<Blob, Failure> {
        let resolved = self.resolved(file)?;
        let progress = |p: Progress| progress(p.done_bytes, p.total_bytes);
        let token = file.bearer_token.as_ref();
        let fetch = || self.store.fetch(&self.sources, &resolved, token, &progress);
        let result = match fetch().await {
            Err(FetchError::DiskFull { needed, free, .. })
                if self.make_room(needed.saturating_sub(free)).await =>
            {
                fetch().await
            }
            result => result,
        };
        result.map_err(|e| failure(&e))
    }

    fn resolved(&self, file: &FileSpec) -> Result<Resolved, Failure> {
        let FileSpec { url, sha256, size_bytes, revision, bearer_token: _ } = file;
        let location = Location::parse(url, self.sources.policy().plain_http)
            .map_err(|e| Failure::permanent("SourceForbidden", crate::error::chain(&e)))?;
        Ok(Resolved { location, revision: revision.clone(), sha256: *sha256, size_bytes: *size_bytes })
    }

    /// What the file's bytes are, if its source says so or was asked before.
    fn digest(&self, file: &FileSpec) -> Option<Digest> {
        file.sha256.or_else(|| self.store.recorded(&self.resolved(file).ok()?))
    }

    /// Whether anything was removed.
    async fn make_room(&self, bytes: u64) -> bool {
        let this = self.clone();
        let collect = move || this.shrink_to(this.store.used_bytes()?.saturating_sub(bytes));
        match tokio::task::spawn_blocking(collect).await {
            Ok(Ok(freed)) => freed > 0,
            Ok(Err(error)) => {
                tracing::warn!(error = %crate::error::chain(&error), "cannot make room in the model store");
                false
            }
            Err(_) => false,
        }
    }

    /// Removes what no replica needs until this many bytes are left, and says how
    /// many were freed. Blocks.
    fn shrink_to(&self, bytes: u64) -> Result<u64, FetchError> {
        let Some(keep) = self.kept() else { return Ok(0) };
        let collected = self.store.collect(&keep, bytes)?;
        if collected.freed_bytes > 0 {
            let (files, bytes) = (collected.removed.len(), collected.freed_bytes);
            tracing::info!(files, bytes, "removed unused model files to make room");
        }
        Ok(collected.freed_bytes)
    }

    fn kept(&self) -> Option<HashSet<Digest>> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(wanted.iter().filter_map(|file| self.digest(file)).collect())
    }

    /// How full it is; zeros if that cannot be read. A store over its quota, which
    /// may have become smaller, is brought back to it as far as nothing wanted goes.
    /// Blocks.
    pub fn usage(&self) -> StoreUse {
        let used = || self.store.used_bytes().unwrap_or(0);
        if let Some(quota) = self.quota.filter(|quota| used() > *quota)
            && let Err(error) = self.shrink_to(quota)
        {
            tracing::warn!(error = %crate::error::chain(&error), "cannot shrink the model store to its quota");
        }
        StoreUse {
            capacity: self.store.capacity_bytes().unwrap_or(0),
            used: used(),
            unused: self.kept().and_then(|keep| self.store.unused_bytes(&keep).ok()).unwrap_or(0),
        }
    }
}

fn failure(error: &FetchError) -> Failure {
    Failure {
        reason: error.reason().to_owned(),
        message: crate::error::chain(error),
        permanent: error.is_permanent(),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use hearth_source::PlainHttp;

    use super::*;

    /// A store with this quota, and files of six bytes, none of which names its
    /// digest: what it was is known only from when it came.
    struct Bench {
        store: ModelStore,
        files: [FileSpec; 3],
        _folder: tempfile::TempDir,
        server: tokio::task::JoinHandle<std::io::Result<()>>,
    }

    impl Bench {
        async fn new(quota: Option<u64>) -> Self {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new()
                .route("/a", get(|| async { ([("etag", "\"1\"")], "file a") }))
                .route("/b", get(|| async { ([("etag", "\"1\"")], "file b") }))
                .route("/c", get(|| async { ([("etag", "\"1\"")], "file c") }));
            let server = tokio::spawn(async move { axum::serve(listener, router).await });
            let folder = tempfile::tempdir().unwrap();
            let policy = Policy { plain_http: PlainHttp::Allow, allow_private: true, ..Policy::default() };
            let store = ModelStore::open(folder.path(), policy, quota).unwrap();
            store.want(Vec::new());
            let files = ["a", "b", "c"].map(|path| FileSpec {
                url: format!("http://{address}/{path}"),
                sha256: None,
                size_bytes: 6,
                revision: "1".into(),
                bearer_token: None,
            });
            Self { store, files, _folder: folder, server }
        }

        async fn fetch(&self, file: usize) -> Result<Blob, Failure> {
            // The order of use is told by the clock of the file system.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            self.store.fetch(&self.files[file], |_, _| {}).await
        }

        fn want(&self, files: &[usize]) {
            self.store.want(files.iter().map(|file| self.files[*file].clone()).collect());
        }
    }

    #[tokio::test]
    async fn room_is_made_of_what_nobody_wants() {
        let bench = Bench::new(None).await;
        for file in [0, 1] {
            bench.fetch(file).await.unwrap();
        }
        bench.server.abort();
        bench.want(&[0]);
        assert_eq!(bench.store.usage().unused, 6);
        assert!(bench.store.make_room(u64::MAX).await);
        assert_eq!((bench.store.usage().used, bench.store.usage().unused), (6, 0));
        bench.fetch(0).await.expect("it is still here");
        bench.want(&[]);
        assert!(bench.store.make_room(u64::MAX).await);
        assert_eq!(bench.store.usage().used, 0);
    }

    #[tokio::test]
    async fn within_its_quota_what_was_unused_longest_goes_first() {
        let bench = Bench::new(Some(12)).await;
        for file in [0, 1, 0] {
            bench.fetch(file).await.unwrap();
        }
        bench.fetch(2).await.expect("the second makes room");
        assert_eq!(bench.store.usage(), StoreUse { capacity: 12, used: 12, unused: 12 });
        bench.want(&[0, 2]);
        let left = StoreUse { capacity: 12, used: 12, unused: 0 };
        assert_eq!(bench.store.usage(), left, "the first was used again, the second is gone");
    }

    #[tokio::test]
    async fn what_is_wanted_or_open_makes_no_room() {
        let bench = Bench::new(Some(12)).await;
        let open = bench.fetch(0).await.unwrap();
        bench.fetch(1).await.unwrap();
        bench.want(&[1]);
        let refused = bench.fetch(2).await.unwrap_err();
        assert_eq!((refused.reason.as_str(), refused.permanent), ("DiskFull", false));
        for part in ["0 bytes free", "6 are needed"] {
            assert!(refused.message.contains(part), "{}", refused.message);
        }
        drop(open);
        bench.fetch(2).await.expect("the first is not open any more");
    }

    #[tokio::test]
    async fn a_store_over_its_quota_is_brought_back_to_it() {
        let mut bench = Bench::new(None).await;
        for file in [0, 1, 2] {
            bench.fetch(file).await.unwrap();
        }
        // As after a restart with a smaller one.
        (bench.store.quota, bench.store.wanted) = (Some(7), Arc::default());
        assert_eq!(bench.store.usage().used, 18, "nobody has said yet what is wanted");
        bench.want(&[0]);
        assert_eq!(bench.store.usage().used, 6);
        assert_eq!(bench.store.usage().unused, 0);
    }
}
