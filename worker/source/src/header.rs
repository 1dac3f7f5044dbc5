//! The header of a file that is not here: read by range, as much as the parser asks.

use hearth_model::gguf::{self, FIRST_READ_BYTES};
use hearth_model::{Header, Model, ReadError};
use url::Url;

use crate::error::shown;
use crate::net::{Get, Http};
use crate::{HeaderFetchError, HttpError, Location, Resolved, Sources, Token};

impl Sources {
    /// Reads the header of a resolved file, a few megabytes at most of the whole,
    /// and understands it.
    ///
    /// # Errors
    /// The source does not answer, or the file is not a model that can be served.
    pub async fn header(
        &self,
        resolved: &Resolved,
        token: Option<&Token>,
    ) -> Result<Model, HeaderFetchError> {
        let header = match &resolved.location {
            Location::Web(url) => remote(self.http(), url, resolved.size_bytes, token).await?,
            Location::Claim { claim, path } => {
                let file = self.mounted(claim, path).await.map_err(HeaderFetchError::Claim)?.file;
                let read = tokio::task::spawn_blocking({
                    let file = file.clone();
                    move || gguf::read_file(&file)
                });
                let ended = |e: tokio::task::JoinError| HeaderFetchError::Io {
                    path: file,
                    source: std::io::Error::other(e),
                };
                read.await.map_err(ended)?.map_err(|e| match e {
                    ReadError::Io { path, source } => HeaderFetchError::Io { path, source },
                    ReadError::Header { source, .. } => HeaderFetchError::Header(source),
                })?
            }
        };
        Ok(Model::from_gguf(&header)?)
    }
}

async fn remote(
    http: &Http,
    url: &Url,
    size_bytes: u64,
    token: Option<&Token>,
) -> Result<Header, HeaderFetchError> {
    let mut prefix: Vec<u8> = Vec::new();
    let mut wanted = FIRST_READ_BYTES.min(size_bytes);
    loop {
        extend(http, url, token, &mut prefix, wanted).await?;
        match gguf::parse(&prefix, Some(size_bytes))? {
            gguf::Progress::Done(header) => return Ok(*header),
            // Larger than what is there, and at most the size: the parser refuses
            // a file whose end it has seen.
            gguf::Progress::Need(more) => wanted = more,
        }
    }
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
