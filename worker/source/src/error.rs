//! What can go wrong between a URI and a file. Each error says whether trying
//! again with the same input can help, and has a word for a condition's reason.

use std::path::PathBuf;

use http::StatusCode;
use url::Url;

use crate::{Digest, ForbiddenAddress};

/// A URL for messages: without query, which may hold a signature.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The extra certificates cannot be used.
    #[error("the CA file {path}: {why}; it must hold PEM certificates")]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
    /// The HTTP client cannot be set up.
    #[error("setting up the HTTP client")]
    Client(#[source] reqwest::Error),
}

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

/// A URI that leads to no single file.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The source does not answer, or not so.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The repository has no file that can be served.
    #[error("{repository} at {revision} has no GGUF file; it has {found}")]
    NoFile {
        /// The repository.
        repository: String,
        /// The commit.
        revision: String,
        /// Some of the files that are there.
        found: String,
    },
    /// The named file is not there.
    #[error("{repository} at {revision} has no file `{path}`; its GGUF files are {found}")]
    NoSuchFile {
        /// The repository.
        repository: String,
        /// The commit.
        revision: String,
        /// The path asked for.
        path: String,
        /// The GGUF files that are there.
        found: String,
    },
    /// No file has the quantization.
    #[error("{repository} has no file of quantization `{wanted}`; it has {found}")]
    NoQuantization {
        /// The repository.
        repository: String,
        /// What was asked for.
        wanted: String,
        /// The files that are there.
        found: String,
    },
    /// Several files would do.
    #[error("{repository} has several files that would do: {found}; name one in source.uri")]
    Ambiguous {
        /// The repository.
        repository: String,
        /// The files.
        found: String,
    },
    /// The model lies in several files.
    #[error("`{path}` is one of several parts; merge them into one file, or choose another")]
    Split {
        /// A part.
        path: String,
    },
    /// The mounted file cannot be used.
    #[error("pvc://{claim}/{path}: {why}")]
    Claim {
        /// The claim.
        claim: String,
        /// The path in it.
        path: String,
        /// What is wrong, and what to do.
        why: String,
        /// Whether waiting cannot help.
        permanent: bool,
    },
}

impl ResolveError {
    /// Trying again with the same input cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Http(e) => e.is_permanent(),
            Self::Claim { permanent, .. } => *permanent,
            Self::NoFile { .. }
            | Self::NoSuchFile { .. }
            | Self::NoQuantization { .. }
            | Self::Ambiguous { .. }
            | Self::Split { .. } => true,
        }
    }

    /// One CamelCase word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Http(e) => e.reason(),
            Self::NoFile { .. } | Self::NoSuchFile { .. } | Self::Claim { .. } => "SourceNotFound",
            Self::NoQuantization { .. } => "QuantizationNotFound",
            Self::Ambiguous { .. } => "SourceAmbiguous",
            Self::Split { .. } => "SourceSplit",
        }
    }
}

/// A header that could not be fetched or understood.
#[derive(Debug, thiserror::Error)]
pub enum HeaderFetchError {
    /// The source does not answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The mounted file cannot be used.
    #[error(transparent)]
    Claim(ResolveError),
    /// The mounted file cannot be read.
    #[error("reading {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The header is refused.
    #[error(transparent)]
    Header(#[from] hearth_model::HeaderError),
    /// The model is refused.
    #[error(transparent)]
    Model(#[from] hearth_model::ArchError),
}

impl HeaderFetchError {
    /// Trying again with the same input cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Http(e) => e.is_permanent(),
            Self::Claim(e) => e.is_permanent(),
            Self::Io { .. } => false,
            Self::Header(_) | Self::Model(_) => true,
        }
    }

    /// One CamelCase word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Http(e) => e.reason(),
            Self::Claim(e) => e.reason(),
            Self::Io { .. } => "SourceUnreadable",
            Self::Header(_) => "FileInvalid",
            Self::Model(_) => "ModelUnsupported",
        }
    }
}

/// A file that did not get into the store.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source does not answer, or not so.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The mounted file cannot be used.
    #[error(transparent)]
    Claim(ResolveError),
    /// The bytes are not the ones that were asked for. The store has dropped them.
    #[error("{url} has sha256 {got}, not {expected}: the file was changed or the digest is wrong")]
    DigestMismatch {
        /// The source.
        url: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// The file has another size than it had when it was resolved.
    #[error("{url} has {got} bytes, not {expected}: the file has changed since it was resolved")]
    SizeMismatch {
        /// The source.
        url: String,
        /// The size asked for.
        expected: u64,
        /// The size found.
        got: u64,
    },
    /// There is no room.
    #[error(
        "the store at {path} has {free} bytes free, and {needed} are needed; enlarge it or remove models"
    )]
    DiskFull {
        /// The store's folder.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The store cannot be read or written.
    #[error("{doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl FetchError {
    /// Trying again with the same input cannot help. A full disk is not
    /// permanent: room may be made.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Http(e) => e.is_permanent(),
            Self::Claim(e) => e.is_permanent(),
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => true,
            Self::DiskFull { .. } | Self::Io { .. } => false,
        }
    }

    /// One CamelCase word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Http(e) => e.reason(),
            Self::Claim(e) => e.reason(),
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::SizeMismatch { .. } => "SourceChanged",
            Self::DiskFull { .. } => "DiskFull",
            Self::Io { .. } => "StoreFailed",
        }
    }
}
