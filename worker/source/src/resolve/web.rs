//! A file behind a URL of its own.

use url::Url;

use super::{Location, Resolved, possible};
use crate::error::shown;
use crate::net::{Answer, Get, Http};
use crate::{Digest, HttpError, ResolveError, Token};

/// Asks for the first byte rather than with HEAD: signed URLs allow one method,
/// and a range shows the size even where the length is not told.
pub(super) async fn resolve(http: &Http, url: &Url, token: Option<&Token>) -> Result<Resolved, ResolveError> {
    let answer = match http.get(Get::new(url, token).range(0, Some(0))).await {
        // Some servers answer a range of an empty file so.
        Err(HttpError::RangeNotSatisfiable { url }) => {
            return Err(HttpError::BadAnswer { url, why: "the file is empty".to_owned() }.into());
        }
        other => other?,
    };
    let size_bytes = size(&answer).ok_or_else(|| HttpError::BadAnswer {
        url: shown(url),
        why: "it does not say how large the file is".to_owned(),
    })?;
    let size_bytes = possible(url, size_bytes)?;
    // A hub says so in the redirect: the ETag of a large file is its digest.
    let sha256 = answer.header(LINKED_ETAG).map(unquoted).and_then(|etag| etag.parse::<Digest>().ok());
    let revision = versions(&answer).next().unwrap_or_default().to_owned();
    Ok(Resolved { location: Location::Web(url.clone()), revision, sha256, size_bytes })
}

/// The ETag of the file that a hub's redirect leads to.
const LINKED_ETAG: &str = "x-linked-etag";

/// What an answer calls the version that it is of, the best name first.
pub(crate) fn versions(answer: &Answer) -> impl Iterator<Item = &str> {
    let names = [
        answer.header("x-repo-commit"),
        answer.header(LINKED_ETAG).map(unquoted),
        answer.last_header("etag").map(unquoted),
        answer.last_header("last-modified"),
    ];
    names.into_iter().flatten().filter(|name| !name.is_empty())
}

fn size(answer: &Answer) -> Option<u64> {
    if let Some(size) = answer.header("x-linked-size").and_then(|s| s.trim().parse().ok()) {
        return Some(size);
    }
    if answer.response.status() == http::StatusCode::PARTIAL_CONTENT {
        return answer.content_range()?.1;
    }
    answer.last_header("content-length")?.trim().parse().ok()
}

/// An ETag without its quotes and without the mark that it is weak.
fn unquoted(etag: &str) -> &str {
    etag.trim().trim_start_matches("W/").trim_matches('"')
}
