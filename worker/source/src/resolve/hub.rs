//! Files of a repository, by the hub's API: revision to commit, commit to files.

use hearth_model::quantization;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::{Location, Quantization, Resolved, choose, possible};
use crate::error::shown;
use crate::net::{Answer, Get, Http};
use crate::{Digest, HttpError, ResolveError, Token};

/// Bytes of an answer that are read: a page of 1000 files takes 300 KiB.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Pages of a listing that are read.
const MAX_PAGES: usize = 10;

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

/// A file or folder of a listing.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// A GGUF file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubFile {
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) sha256: Option<Digest>,
}

impl HubFile {
    pub(super) fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    pub(super) fn quantization(&self) -> Option<&'static str> {
        quantization::in_file_name(self.name())
    }
}

pub(super) async fn resolve(
    http: &Http,
    repository: &str,
    path: Option<&str>,
    revision: &str,
    quantization: &Quantization,
    token: Option<&Token>,
) -> Result<Resolved, ResolveError> {
    let hub = &http.policy().hub;
    let url = below(hub, &["api", "models", repository, "revision"], Some(revision));
    let answer = http.get(Get::new(&url, token)).await?;
    let commit = json::<Revision>(&url, answer).await?.sha;

    let mut url = below(hub, &["api", "models", repository, "tree", &commit], None);
    url.query_pairs_mut().append_pair("recursive", "true");
    let files = files(http, url, token).await?;

    let file = choose::file(repository, &commit, files, path, quantization)?;
    let url = below(hub, &[repository, "resolve", &commit, &file.path], None);
    let size_bytes = possible(&url, file.size_bytes)?;
    Ok(Resolved { location: Location::Web(url), revision: commit, sha256: file.sha256, size_bytes })
}

/// The hub's URL with more parts behind its path, slashes within them kept, and
/// a last one whose slashes are written `%2F`.
fn below(hub: &Url, parts: &[&str], last: Option<&str>) -> Url {
    let mut url = hub.clone();
    // A URL of http or https always has a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts.iter().flat_map(|p| p.split('/'))).extend(last);
    }
    url
}

async fn files(http: &Http, first: Url, token: Option<&Token>) -> Result<Vec<HubFile>, ResolveError> {
    let mut out = Vec::new();
    let mut url = first;
    for _ in 0..MAX_PAGES {
        let answer = http.get(Get::new(&url, token)).await?;
        let next = answer.last_header("link").and_then(next_page).and_then(|next| url.join(next).ok());
        let page: Vec<Entry> = json(&url, answer).await?;
        out.extend(page.into_iter().filter(|e| e.kind == "file").map(|e| match e.lfs {
            Some(lfs) => HubFile { path: e.path, size_bytes: lfs.size, sha256: lfs.oid.parse().ok() },
            None => HubFile { path: e.path, size_bytes: e.size, sha256: None },
        }));
        match next {
            // Another origin would be sent the token.
            Some(next) if next.origin() == url.origin() => url = next,
            Some(_) | None => break,
        }
    }
    Ok(out)
}

/// The target of `<url>; rel="next"`.
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|one| {
        let (target, rest) = one.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then_some(target)
    })
}

async fn json<T: DeserializeOwned>(url: &Url, answer: Answer) -> Result<T, HttpError> {
    let mut response = answer.response;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| HttpError::from_reqwest(url, e))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            let why = format!("more than {MAX_ANSWER_BYTES} bytes");
            return Err(HttpError::BadAnswer { url: shown(url), why });
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body)
        .map_err(|e| HttpError::BadAnswer { url: shown(url), why: format!("not the hub's JSON: {e}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_the_hubs_own_path() {
        let hub = Url::parse("https://mirror/hub/").unwrap();
        let url = below(&hub, &["api", "models", "o/r", "revision"], Some("refs/pr/1"));
        assert_eq!(url.as_str(), "https://mirror/hub/api/models/o/r/revision/refs%2Fpr%2F1");
        let url = below(&hub, &["o/r", "resolve", "c0ffee", "a b/ü.gguf"], None);
        assert_eq!(url.as_str(), "https://mirror/hub/o/r/resolve/c0ffee/a%20b/%C3%BC.gguf");
    }

    #[test]
    fn next_pages() {
        assert_eq!(next_page("<https://h/a?cursor=x>; rel=\"next\""), Some("https://h/a?cursor=x"));
        assert_eq!(next_page("<a>; rel=\"prev\", <b>; rel=\"next\""), Some("b"));
        assert_eq!(next_page("<a>; rel=\"prev\""), None);
    }
}
