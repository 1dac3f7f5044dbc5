//! From a URI to one file.

use super::HttpError;

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
