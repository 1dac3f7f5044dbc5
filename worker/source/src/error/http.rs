//! Requests.

use ::http::StatusCode;
use url::Url;

use super::shown;
use crate::ForbiddenAddress;

/// A request that did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The policy refuses the address.
    #[error("{url} may not be fetched: {source}")]
    Forbidden {
        /// The URL.
        url: String,
        /// The address.
        source: ForbiddenAddress,
    },
    /// The policy refuses plain text.
    #[error("{url} may not be fetched: plain http is not allowed; use https")]
    PlainHttp {
        /// The URL.
        url: String,
    },
    /// There is no such file.
    #[error("{url} answers {status}: there is no such file; check the name and the revision")]
    NotFound {
        /// The URL.
        url: String,
        /// 404 or 410.
        status: StatusCode,
    },
    /// The source wants another token, or one at all.
    #[error("{url} answers {status}: it does not exist or needs a token; name a Secret in source.secretRef")]
    Unauthorized {
        /// The URL.
        url: String,
        /// 401 or 403.
        status: StatusCode,
    },
    /// The server has fewer bytes than were asked from.
    #[error("{url} has fewer bytes than expected: the file has changed")]
    RangeNotSatisfiable {
        /// The URL.
        url: String,
    },
    /// Another status.
    #[error("{url} answers {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// A redirect to where we do not go.
    #[error("{url} redirects to `{to}`, which is not an https URL")]
    BadRedirect {
        /// The URL.
        url: String,
        /// Where to.
        to: String,
    },
    /// Redirects without end.
    #[error("{url} redirects more than {allowed} times")]
    TooManyRedirects {
        /// The first URL.
        url: String,
        /// How many are followed.
        allowed: usize,
    },
    /// Nothing came for too long.
    #[error("{url} did not answer in time")]
    Timeout {
        /// The URL.
        url: String,
    },
    /// No connection, or none that is trusted.
    #[error("connecting to {url}: {why}")]
    Connect {
        /// The URL.
        url: String,
        /// The innermost cause.
        why: String,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {url} was cut: {why}")]
    Cut {
        /// The URL.
        url: String,
        /// The innermost cause.
        why: String,
    },
    /// An answer that makes no sense.
    #[error("{url} answers what cannot be used: {why}")]
    BadAnswer {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

impl HttpError {
    pub(crate) fn from_reqwest(url: &Url, error: reqwest::Error) -> Self {
        let url = shown(url);
        let timeout = error.is_timeout();
        let connect = error.is_connect();
        let mut cause: &(dyn std::error::Error + 'static) = &error;
        loop {
            if let Some(forbidden) = cause.downcast_ref::<ForbiddenAddress>() {
                return Self::Forbidden { url, source: forbidden.clone() };
            }
            match cause.source() {
                Some(deeper) => cause = deeper,
                None => break,
            }
        }
        let why = cause.to_string();
        match (timeout, connect) {
            (true, _) => Self::Timeout { url },
            (false, true) => Self::Connect { url, why },
            (false, false) => Self::Cut { url, why },
        }
    }

    /// Trying again with the same input cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Forbidden { .. }
            | Self::PlainHttp { .. }
            | Self::NotFound { .. }
            | Self::Unauthorized { .. }
            | Self::BadRedirect { .. }
            | Self::TooManyRedirects { .. }
            | Self::BadAnswer { .. } => true,
            Self::Status { status, .. } => {
                !(status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT))
            }
            Self::RangeNotSatisfiable { .. }
            | Self::Timeout { .. }
            | Self::Connect { .. }
            | Self::Cut { .. } => false,
        }
    }

    /// One CamelCase word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } | Self::PlainHttp { .. } => "SourceForbidden",
            Self::NotFound { .. } => "SourceNotFound",
            Self::Unauthorized { .. } => "SourceUnauthorized",
            Self::Timeout { .. } => "SourceTimeout",
            Self::Connect { .. } => "SourceUnreachable",
            Self::Cut { .. } => "SourceCut",
            Self::RangeNotSatisfiable { .. } => "SourceChanged",
            Self::Status { .. }
            | Self::BadRedirect { .. }
            | Self::TooManyRedirects { .. }
            | Self::BadAnswer { .. } => "SourceBadAnswer",
        }
    }
}
