//! From a file that is known to its header, or to the whole of it.

use std::path::PathBuf;

use super::{HttpError, ResolveError};
use crate::Digest;

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
    /// The source has another version than the one that was resolved.
    #[error("{url} has version `{got}`, not `{expected}`: the file has changed since it was resolved")]
    Changed {
        /// The source.
        url: String,
        /// The version asked for.
        expected: String,
        /// The version found.
        got: String,
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
    /// permanent: room may be made. Nor is another version: resolved again, the
    /// source may be of one mind.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Http(e) => e.is_permanent(),
            Self::Claim(e) => e.is_permanent(),
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => true,
            Self::Changed { .. } | Self::DiskFull { .. } | Self::Io { .. } => false,
        }
    }

    /// One CamelCase word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Http(e) => e.reason(),
            Self::Claim(e) => e.reason(),
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::SizeMismatch { .. } | Self::Changed { .. } => "SourceChanged",
            Self::DiskFull { .. } => "DiskFull",
            Self::Io { .. } => "StoreFailed",
        }
    }
}
