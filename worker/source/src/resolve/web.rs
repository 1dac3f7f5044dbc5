//! A file behind a URL of its own.

use url::Url;

use super::{Location, Resolved};
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
    // A hub says so in the redirect: the ETag of a large file is its digest.
    let linked = answer.header("x-linked-etag").map(unquoted);
    let sha256 = linked.and_then(|etag| etag.parse::<Digest>().ok());
    let revision = answer
        .header("x-repo-commit")
        .or(linked)
        .or_else(|| answer.last_header("etag").map(unquoted))
        .or_else(|| answer.last_header("last-modified"))
        .unwrap_or_default();
    let revision = revision.to_owned();
    Ok(Resolved { location: Location::Web(url.clone()), revision, sha256, size_bytes })
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
