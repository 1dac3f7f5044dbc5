//! From a URI to one file.

mod choose;
mod claim;
mod hub;
pub(crate) mod web;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

pub use choose::{AUTO_ORDER, Quantization};
use url::Url;

use crate::budget::Budget;
use crate::error::shown;
use crate::net::Http;
use crate::uri::PlainHttp;
use crate::{Digest, HttpError, Policy, ResolveError, SetupError, Token, Uri, UriError};

/// Where the bytes of a file are. Written as the URL that workers are sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// To be fetched.
    Web(Url),
    /// On a mounted claim.
    Claim {
        /// The claim's name.
        claim: String,
        /// The file on it.
        path: String,
    },
}

impl Location {
    /// Reads what [`Location`] writes.
    ///
    /// # Errors
    /// It is neither an `https` nor a `pvc` URL.
    pub fn parse(text: &str, plain: PlainHttp) -> Result<Self, UriError> {
        match Uri::parse(text, plain)? {
            Uri::Web(url) => Ok(Self::Web(url)),
            Uri::Claim { claim, path } => Ok(Self::Claim { claim, path }),
            Uri::Hub { .. } => Err(UriError {
                uri: text.to_owned(),
                problem: "it is not resolved yet".to_owned(),
                remedy: "resolve it to an https URL",
            }),
        }
    }
}

impl FromStr for Location {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text, PlainHttp::Refuse)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => url.fmt(f),
            Self::Claim { claim, path } => write!(f, "pvc://{claim}/{path}"),
        }
    }
}

/// One file of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Where its bytes are.
    pub location: Location,
    /// What the source calls this version of it: a commit, an ETag, a time of
    /// change. Empty if it calls it nothing.
    pub revision: String,
    /// Its digest, if the source knows it.
    pub sha256: Option<Digest>,
    /// Its size.
    pub size_bytes: u64,
}

/// The sources that can be reached. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sources {
    http: Http,
    headers: Budget,
}

impl Sources {
    /// Sources under a policy.
    ///
    /// # Errors
    /// The extra certificates cannot be used.
    pub fn new(policy: Policy) -> Result<Self, SetupError> {
        Ok(Self { http: Http::new(Arc::new(policy))?, headers: Budget::default() })
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.http.policy()
    }

    /// The memory for headers that are being read.
    pub(crate) fn headers(&self) -> &Budget {
        &self.headers
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// Finds the one file that a URI means. `quantization` chooses among the
    /// files of a repository, and is not looked at for a URI that names a file.
    ///
    /// # Errors
    /// The source does not answer, or has no such file, or has several.
    pub async fn resolve(
        &self,
        uri: &Uri,
        quantization: &Quantization,
        token: Option<&Token>,
    ) -> Result<Resolved, ResolveError> {
        match uri {
            Uri::Hub { repository, path, revision } => {
                let revision = revision.as_deref().unwrap_or("main");
                hub::resolve(&self.http, repository, path.as_deref(), revision, quantization, token).await
            }
            Uri::Web(url) => web::resolve(&self.http, url, token).await,
            Uri::Claim { claim, path } => {
                claim::stat(&self.policy().claims, claim, path).await.map(|file| file.resolved)
            }
        }
    }

    /// The mounted file that a location names, which is there, and within its
    /// claim even where links lead elsewhere.
    ///
    /// # Errors
    /// It cannot be used.
    pub(crate) async fn mounted(&self, claim: &str, path: &str) -> Result<Mounted, ResolveError> {
        claim::stat(&self.policy().claims, claim, path).await
    }
}

/// The size that a source tells, if a file can have it.
fn possible(url: &Url, size_bytes: u64) -> Result<u64, HttpError> {
    if size_bytes > hearth_model::MAX_FILE_BYTES {
        let why = format!("it says that the file has {size_bytes} bytes, more than any file");
        return Err(HttpError::BadAnswer { url: shown(url), why });
    }
    Ok(size_bytes)
}

/// A file on a claim.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) file: PathBuf,
    pub(crate) resolved: Resolved,
}
