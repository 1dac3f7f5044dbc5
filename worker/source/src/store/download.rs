//! One fetch: tries, each resuming what the last one left.

use bytes::Bytes;
use http::StatusCode;
use url::Url;

use super::folder::{Folder, Key, io};
use super::partial::{Journal, Partial, Writer};
use super::{Gate, Progress, Retry, Store};
use crate::error::shown;
use crate::net::{Answer, Get};
use crate::resolve::web;
use crate::{Digest, FetchError, HttpError, Resolved, Sources, Token};

/// A file to be fetched.
pub(super) struct Job<'a> {
    pub(super) store: &'a Store,
    pub(super) sources: &'a Sources,
    pub(super) url: &'a Url,
    pub(super) resolved: &'a Resolved,
    pub(super) token: Option<&'a Token>,
    pub(super) key: &'a Key,
    pub(super) gate: Gate,
}

/// What a try came to, whether or not it failed.
#[derive(Default)]
struct Try {
    /// Bytes that were there when it began.
    found: u64,
    /// Bytes that were there when it ended.
    reached: u64,
}

impl Job<'_> {
    /// Fetches the file into the blobs.
    pub(super) async fn run(
        &self,
        retry: &Retry,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Digest, FetchError> {
        let mut delays = retry.delays();
        let mut may_start_over = true;
        loop {
            let mut this = Try::default();
            let error = match self.attempt(&mut this, progress).await {
                Ok(digest) => return Ok(digest),
                Err(error) => error,
            };
            let again = match &error {
                FetchError::Http(e) => !e.is_permanent(),
                // What an earlier try left may have been at fault: once more, from
                // the start.
                FetchError::DigestMismatch { .. } => this.found > 0 && std::mem::take(&mut may_start_over),
                FetchError::Claim(_)
                | FetchError::SizeMismatch { .. }
                | FetchError::Changed { .. }
                | FetchError::DiskFull { .. }
                | FetchError::Io { .. } => false,
            };
            if !again {
                return Err(error);
            }
            if this.reached > this.found {
                delays = retry.delays();
            }
            let Some(delay) = delays.next() else { return Err(error) };
            tracing::info!(url = shown(self.url), %error, ?delay, bytes = this.reached, "fetching again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(
        &self,
        this: &mut Try,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Digest, FetchError> {
        let total_bytes = self.resolved.size_bytes;
        let mut partial = self.open().await?;
        (this.found, this.reached) = (partial.len, partial.len);
        progress(Progress { done_bytes: partial.len, total_bytes });
        if partial.len < total_bytes {
            let _room = self.store.promise(self.key, total_bytes, total_bytes - partial.len)?;
            let answer = self.ask(&mut partial).await?;
            this.reached = partial.len;
            partial = self.receive(partial, answer, this, progress).await?;
        }
        let digest = tokio::task::spawn_blocking(|| partial.seal())
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|e| self.disk(e))?;
        if let Some(expected) = self.resolved.sha256.filter(|expected| *expected != digest) {
            self.folder().discard(self.key);
            return Err(FetchError::DigestMismatch { url: shown(self.url), expected, got: digest });
        }
        self.folder().finish(self.key, digest)?;
        Ok(digest)
    }

    async fn open(&self) -> Result<Partial, FetchError> {
        let (path, key, size) = (self.folder().root().to_owned(), self.key.clone(), self.resolved.size_bytes);
        let (url, gate) = (self.url.to_string(), self.gate.clone());
        // Hashing gigabytes again takes seconds: not on the thread of the runtime.
        let opened = tokio::task::spawn_blocking(move || {
            let _gate = gate;
            Partial::open(&Folder::open(&path)?, &key, &url, size)
        });
        let mut partial = opened.await.map_err(|e| self.disk(std::io::Error::other(e)))??;
        // Without a digest only the source can say that it still has the same bytes.
        let etag = partial.journal.as_ref().and_then(|j| j.etag.as_ref());
        if self.resolved.sha256.is_none() && etag.is_none() {
            partial.restart().map_err(|e| self.disk(e))?;
        }
        Ok(partial)
    }

    fn folder(&self) -> &Folder {
        &self.store.shared.folder
    }

    /// Asks for what is missing, and makes the partial file fit what will come.
    async fn ask(&self, partial: &mut Partial) -> Result<Answer, FetchError> {
        let mut get = Get::new(self.url, self.token);
        let etag = partial.journal.as_ref().and_then(|j| j.etag.clone());
        if partial.len > 0 {
            get = Get { if_range: etag.as_deref(), ..get.range(partial.len, None) };
        }
        let answer = match self.sources.http().get(get).await {
            Err(e @ HttpError::RangeNotSatisfiable { .. }) => {
                self.folder().discard(self.key);
                return Err(e.into());
            }
            other => other?,
        };
        if let Some(got) = self.other_version(&answer) {
            self.folder().discard(self.key);
            let expected = self.resolved.revision.clone();
            return Err(FetchError::Changed { url: shown(self.url), expected, got });
        }
        let expected = self.resolved.size_bytes;
        let size = if answer.response.status() == StatusCode::PARTIAL_CONTENT {
            let Some((first, size)) = answer.content_range().filter(|(first, _)| *first == partial.len)
            else {
                let why = format!("asked for the bytes from {}, it sends others", partial.len);
                return Err(HttpError::BadAnswer { url: shown(self.url), why }.into());
            };
            tracing::debug!(url = shown(self.url), first, "resuming");
            size
        } else {
            // The whole: the server knows no ranges, or the file has changed.
            partial.restart().map_err(|e| self.disk(e))?;
            answer.last_header("content-length").and_then(|n| n.trim().parse().ok())
        };
        if let Some(got) = size.filter(|size| *size != expected) {
            return Err(FetchError::SizeMismatch { url: shown(self.url), expected, got });
        }
        let etag = answer.last_header("etag").filter(|e| !e.starts_with("W/")).map(str::to_owned);
        let journal = Journal { url: self.url.to_string(), size_bytes: expected, etag };
        partial.begin(self.folder(), self.key, journal)?;
        Ok(answer)
    }

    /// The version that an answer is of, if that is not the one that was resolved.
    /// A digest is a better judge, and an address that names its version, as those
    /// of a hub do, has no other.
    fn other_version(&self, answer: &Answer) -> Option<String> {
        let expected = self.resolved.revision.as_str();
        let named = self.url.path_segments().is_some_and(|mut parts| parts.any(|part| part == expected));
        if self.resolved.sha256.is_some() || expected.is_empty() || named {
            return None;
        }
        let mut versions = web::versions(answer).peekable();
        let got = versions.peek()?.to_string();
        versions.all(|version| version != expected).then_some(got)
    }

    /// Takes what comes, to the last byte.
    async fn receive(
        &self,
        partial: Partial,
        mut answer: Answer,
        this: &mut Try,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Partial, FetchError> {
        let total_bytes = self.resolved.size_bytes;
        let mut done_bytes = partial.len;
        let writer = Writer::start(partial, self.gate.clone());
        let came = loop {
            let piece: Bytes = match answer.response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(e) => break Err(HttpError::from_reqwest(self.url, e).into()),
            };
            done_bytes += piece.len() as u64;
            if done_bytes > total_bytes {
                let (url, expected) = (shown(self.url), total_bytes);
                break Err(FetchError::SizeMismatch { url, expected, got: done_bytes });
            }
            if !writer.write(piece).await {
                break Ok(());
            }
            progress(Progress { done_bytes, total_bytes });
        };
        let (partial, written) = writer.finish().await.map_err(|e| self.disk(e))?;
        this.reached = partial.len;
        written.map_err(|e| self.disk(e))?;
        came?;
        if partial.len < total_bytes {
            let why = format!("it ended after {} of {total_bytes} bytes", partial.len);
            return Err(HttpError::Cut { url: shown(self.url), why }.into());
        }
        Ok(partial)
    }

    /// A failure to write: most often, no room.
    fn disk(&self, error: std::io::Error) -> FetchError {
        let path = self.folder().partial(self.key);
        if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
            let there = std::fs::metadata(&path).map_or(0, |m| m.len());
            let needed = self.resolved.size_bytes.saturating_sub(there);
            let free = self.store.room(self.key).unwrap_or(0);
            return FetchError::DiskFull { path: self.folder().root().to_owned(), needed, free };
        }
        io("writing", &path)(error)
    }
}
