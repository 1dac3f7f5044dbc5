//! The files of models, on this machine.

use std::collections::HashSet;
use std::path::Path;

use hearth_source::{
    Blob, Digest, FetchError, Location, Policy, Progress, Resolved, SetupError, Sources, Store,
};

use crate::convert::StoreUse;
use crate::spec::{Failure, FileSpec};

/// The store, and the sources that it is filled from.
#[derive(Clone, Debug)]
pub struct ModelStore {
    store: Store,
    sources: Sources,
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
    /// Opens the store in this folder.
    ///
    /// # Errors
    /// When the folder cannot be written to, or the policy's certificates cannot
    /// be read.
    pub fn open(folder: &Path, policy: Policy) -> Result<Self, StoreError> {
        Ok(Self { sources: Sources::new(policy)?, store: Store::open(folder)? })
    }

    /// The file, fetched if it is not here. `progress` takes bytes done and
    /// bytes in all. If the disk is full, files that are neither in use nor in
    /// `keep` make room: until then they are kept, so that a model that comes
    /// back is not fetched again.
    ///
    /// # Errors
    /// What the controller is told.
    pub async fn fetch(
        &self,
        file: &FileSpec,
        keep: &[FileSpec],
        progress: impl Fn(u64, u64) + Send + Sync,
    ) -> Result<Blob, Failure> {
        let resolved = self.resolved(file)?;
        let progress = |p: Progress| progress(p.done_bytes, p.total_bytes);
        let token = file.bearer_token.as_ref();
        let fetch = || self.store.fetch(&self.sources, &resolved, token, &progress);
        let result = match fetch().await {
            Err(FetchError::DiskFull { needed, free, .. })
                if self.make_room(keep, needed.saturating_sub(free)).await =>
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
    async fn make_room(&self, keep: &[FileSpec], bytes: u64) -> bool {
        let (this, wanted) = (self.clone(), keep.to_vec());
        let collect = move || {
            let store = &this.store;
            let keep: HashSet<Digest> = wanted.iter().filter_map(|file| this.digest(file)).collect();
            let quota = store.used_bytes()?.saturating_sub(bytes);
            store.collect(&keep, quota)
        };
        match tokio::task::spawn_blocking(collect).await {
            Ok(Ok(collected)) => {
                if collected.freed_bytes > 0 {
                    let (files, bytes) = (collected.removed.len(), collected.freed_bytes);
                    tracing::info!(files, bytes, "removed unused model files to make room");
                }
                collected.freed_bytes > 0
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %crate::error::chain(&error), "cannot make room in the model store");
                false
            }
            Err(_) => false,
        }
    }

    /// How full it is; zeros if that cannot be read.
    pub fn usage(&self) -> StoreUse {
        StoreUse {
            capacity: self.store.capacity_bytes().unwrap_or(0),
            used: self.store.used_bytes().unwrap_or(0),
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

    #[tokio::test]
    async fn room_is_made_of_what_nobody_wants() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/wanted", get(|| async { ([("etag", "\"1\"")], "wanted") }))
            .route("/spare", get(|| async { ([("etag", "\"1\"")], "spare!") }));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        let policy = Policy { plain_http: PlainHttp::Allow, allow_private: true, ..Policy::default() };
        let store = ModelStore::open(folder.path(), policy).unwrap();
        // Neither names its digest: what it was is known only from when it came.
        let file = |path: &str| FileSpec {
            url: format!("http://{address}/{path}"),
            sha256: None,
            size_bytes: 6,
            revision: "1".into(),
            bearer_token: None,
        };
        let (wanted, spare) = (file("wanted"), file("spare"));
        for file in [&wanted, &spare] {
            store.fetch(file, &[], |_, _| {}).await.unwrap();
        }
        server.abort();
        assert!(store.make_room(std::slice::from_ref(&wanted), u64::MAX).await);
        assert_eq!(store.usage().used, 6);
        store.fetch(&wanted, &[], |_, _| {}).await.expect("it is still here");
        assert!(store.make_room(&[], u64::MAX).await);
        assert_eq!(store.usage().used, 0);
    }
}
