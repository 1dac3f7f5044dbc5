//! Files on claims: opened where they are, hashed once a version.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::folder::io;
use super::{Blob, Progress, Store};
use crate::{Digest, FetchError, Resolved, Sources};

impl Store {
    pub(super) async fn mounted(
        &self,
        sources: &Sources,
        resolved: &Resolved,
        claim: &str,
        path: &str,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Blob, FetchError> {
        let mounted = sources.mounted(claim, path).await.map_err(FetchError::Claim)?;
        let (size_bytes, expected) = (mounted.resolved.size_bytes, resolved.size_bytes);
        let url = resolved.location.to_string();
        if size_bytes != expected {
            return Err(FetchError::SizeMismatch { url, expected, got: size_bytes });
        }
        let sha256 = match self.recorded(&mounted.resolved) {
            Some(digest) => digest,
            None => {
                let digest = hash(mounted.file.clone(), size_bytes, progress).await?;
                self.record(&mounted.resolved, digest)?;
                digest
            }
        };
        progress(Progress { done_bytes: size_bytes, total_bytes: size_bytes });
        if let Some(expected) = resolved.sha256.filter(|expected| *expected != sha256) {
            return Err(FetchError::DigestMismatch { url, expected, got: sha256 });
        }
        Ok(Blob { path: mounted.file, sha256, size_bytes, _lease: None })
    }
}

async fn hash(
    path: PathBuf,
    total_bytes: u64,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Digest, FetchError> {
    let (tell, mut told) = watch::channel(0u64);
    let thread = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            let mut file = File::open(&path)?;
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; 4 << 20];
            let mut done = 0;
            loop {
                let n = file.read(&mut buffer)?;
                if n == 0 {
                    return Ok(Digest::from_hasher(hasher));
                }
                hasher.update(&buffer[..n]);
                done += n as u64;
                // Nobody waits for the digest any more.
                if tell.send(done).is_err() {
                    return Err(std::io::ErrorKind::Interrupted.into());
                }
            }
        }
    });
    while told.changed().await.is_ok() {
        let done_bytes = *told.borrow_and_update();
        progress(Progress { done_bytes, total_bytes });
    }
    thread.await.map_err(std::io::Error::other).flatten().map_err(io("reading", &path))
}
