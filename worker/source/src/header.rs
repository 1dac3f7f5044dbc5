//! The header of a file that is not here: read by range, as much as the parser asks.

use std::path::{Path, PathBuf};

use hearth_model::Model;
use hearth_model::gguf::{self, FIRST_READ_BYTES};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use url::Url;

use crate::error::shown;
use crate::net::{Get, Http};
use crate::{HeaderFetchError, HttpError, Location, Resolved, Sources, Token};

impl Sources {
    /// Reads the header of a resolved file, a few megabytes at most of the whole,
    /// and understands it. Waits while others take the memory that headers may take.
    ///
    /// # Errors
    /// The source does not answer, or the file is not a model that can be served.
    pub async fn header(
        &self,
        resolved: &Resolved,
        token: Option<&Token>,
    ) -> Result<Model, HeaderFetchError> {
        let mut bytes = match &resolved.location {
            Location::Web(url) => Bytes::Web { http: self.http(), url, token },
            Location::Claim { claim, path } => {
                let path = self.mounted(claim, path).await.map_err(HeaderFetchError::Claim)?.file;
                let opened = tokio::fs::File::open(&path).await;
                let file = opened.map_err(|source| io(&path, source))?;
                Bytes::File { file, path }
            }
        };
        let size_bytes = resolved.size_bytes;
        let mut wanted = FIRST_READ_BYTES.min(size_bytes);
        let mut share = self.headers().take(wanted).await;
        let mut prefix: Vec<u8> = Vec::new();
        loop {
            bytes.extend(&mut prefix, wanted).await?;
            match gguf::parse(&prefix, Some(size_bytes))? {
                gguf::Progress::Done(header) => return Ok(Model::from_gguf(&header)?),
                // Larger than what is there, and at most the size: the parser refuses
                // a file whose end it has seen.
                gguf::Progress::Need(more) => wanted = more,
            }
            if !share.fits(wanted) {
                prefix = Vec::new();
                share = share.exchange(wanted).await;
                bytes.rewind().await?;
            }
        }
    }
}

/// Where a file's bytes come from, from its beginning on.
enum Bytes<'a> {
    Web { http: &'a Http, url: &'a Url, token: Option<&'a Token> },
    File { file: tokio::fs::File, path: PathBuf },
}

impl Bytes<'_> {
    /// Makes the prefix `wanted` bytes long.
    async fn extend(&mut self, prefix: &mut Vec<u8>, wanted: u64) -> Result<(), HeaderFetchError> {
        match self {
            Self::Web { http, url, token } => Ok(extend(http, url, *token, prefix, wanted).await?),
            Self::File { file, path } => {
                let missing = wanted.saturating_sub(prefix.len() as u64);
                let read = file.take(missing).read_to_end(prefix).await;
                match read.map_err(|source| io(path, source))? {
                    read if read as u64 == missing => Ok(()),
                    _ => Err(io(path, std::io::ErrorKind::UnexpectedEof.into())),
                }
            }
        }
    }

    /// Goes back to the beginning.
    async fn rewind(&mut self) -> Result<(), HeaderFetchError> {
        match self {
            Self::Web { .. } => Ok(()),
            Self::File { file, path } => file.rewind().await.map(drop).map_err(|source| io(path, source)),
        }
    }
}

fn io(path: &Path, source: std::io::Error) -> HeaderFetchError {
    HeaderFetchError::Io { path: path.to_owned(), source }
}

/// Makes the prefix `wanted` bytes long.
async fn extend(
    http: &Http,
    url: &Url,
    token: Option<&Token>,
    prefix: &mut Vec<u8>,
    wanted: u64,
) -> Result<(), HttpError> {
    let have = prefix.len() as u64;
    let mut answer = http.get(Get::new(url, token).range(have, Some(wanted.saturating_sub(1)))).await?;
    if answer.response.status() == http::StatusCode::PARTIAL_CONTENT {
        if answer.content_range().map(|(first, _)| first) != Some(have) {
            let why = format!("asked for the bytes from {have}, it sends others");
            return Err(HttpError::BadAnswer { url: shown(url), why });
        }
    } else {
        // A server without ranges sends the whole: what is wanted is read of it,
        // and the connection dropped.
        prefix.clear();
    }
    while (prefix.len() as u64) < wanted {
        let chunk = answer.response.chunk().await.map_err(|e| HttpError::from_reqwest(url, e))?;
        let Some(chunk) = chunk else {
            let why = format!("it ended after {} of {wanted} bytes", prefix.len());
            return Err(HttpError::Cut { url: shown(url), why });
        };
        let room = usize::try_from(wanted).unwrap_or(usize::MAX) - prefix.len();
        prefix.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hearth_model::testing::{TinyLlama, tiny_llama};
    use hearth_model::{Array, Value};

    use super::*;
    use crate::Policy;

    #[tokio::test]
    async fn headers_wait_while_others_take_the_memory_for_them() {
        let claims = tempfile::tempdir().unwrap();
        std::fs::create_dir(claims.path().join("models")).unwrap();
        let filler = Value::Array(Array::U8(vec![7; 3 << 20]));
        let large = TinyLlama::new(1).builder().meta("test.filler", filler).build();
        let sources = Sources::new(Policy { claims: claims.path().to_owned(), ..Policy::default() }).unwrap();
        let resolved = |name: &str, bytes: &[u8]| {
            std::fs::write(claims.path().join("models").join(name), bytes).unwrap();
            Resolved {
                location: Location::Claim { claim: "models".to_owned(), path: name.to_owned() },
                revision: String::new(),
                sha256: None,
                size_bytes: bytes.len() as u64,
            }
        };
        let (small, large) = (resolved("small.gguf", &tiny_llama(1)), resolved("large.gguf", &large));
        let all = sources.headers().take(u64::MAX).await;
        let early = tokio::time::timeout(Duration::from_millis(50), sources.header(&small, None)).await;
        assert!(early.is_err(), "there is no room");
        drop(all);
        assert_eq!(sources.header(&small, None).await.unwrap().dims.layers, 2);
        // Room for the beginning of a large one alone, until the rest is given back.
        let rest = sources.headers().take(63 << 20).await;
        let reading = tokio::spawn({
            let sources = sources.clone();
            async move { sources.header(&large, None).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!reading.is_finished(), "there is no room for all of it");
        drop(rest);
        assert_eq!(reading.await.unwrap().unwrap().dims.layers, 2);
    }
}
