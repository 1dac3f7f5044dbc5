//! Why a header is not a model that can be served.

use crate::{DType, MetadataError};

/// A header that is well-formed but not a model that can be served.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArchError {
    /// No such architecture.
    #[error("architecture `{found}` is not supported; supported: {known}")]
    Unknown {
        /// The file's.
        found: String,
        /// Ours.
        known: String,
    },
    /// A feature of the architecture is not supported.
    #[error("{feature} is not supported (found {found}); {remedy}")]
    Unsupported {
        /// The feature.
        feature: &'static str,
        /// The value found.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A metadata key is missing or wrong.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A tensor is missing.
    #[error("tensor `{name}` is missing; its shape must be {shape:?}")]
    MissingTensor {
        /// Its name.
        name: String,
        /// The shape that it must have.
        shape: Vec<u64>,
    },
    /// A tensor has another shape than the metadata says.
    #[error("tensor `{name}` has shape {found:?}; the metadata says {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The file's.
        found: Vec<u64>,
        /// What the metadata makes it.
        expected: Vec<u64>,
    },
    /// A tensor has no place in the architecture: leaving it out would compute something else.
    #[error("tensor `{name}` has no place in architecture `{architecture}`; the file needs a later version")]
    UnexpectedTensor {
        /// Its name.
        name: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// The engine does not read a tensor's type.
    #[error("tensor `{name}` has type {dtype}, which the engine does not read; it reads {}", readable())]
    UnreadableType {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// The vocabulary contradicts itself.
    #[error("vocabulary: {0}")]
    Tokenizer(String),
    /// The `config.json` cannot be used.
    #[error("config.json: {0}")]
    Config(String),
}

fn readable() -> String {
    DType::READABLE.iter().map(|t| t.name()).collect::<Vec<_>>().join(", ")
}
