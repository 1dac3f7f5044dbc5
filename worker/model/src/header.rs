//! What the first bytes of a model file say, whatever its format.

use std::fmt;

use crate::{DType, Metadata};

/// The formats of model files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One file: metadata, vocabulary, tensors.
    Gguf,
    /// Tensors only; the architecture is described beside the file.
    Safetensors,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gguf => "GGUF",
            Self::Safetensors => "safetensors",
        })
    }
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The name in the file.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: DType,
    /// Outermost dimension first: a matrix is `[rows, columns]`, and columns
    /// lie next to each other. (GGUF files write the reverse.)
    pub shape: Vec<u64>,
    /// Which of [`Header::files`] it lies in; 0 where there is one file.
    pub file: usize,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Bytes that it takes.
    pub bytes: u64,
}

impl Tensor {
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        // The parsers refuse shapes whose product overflows.
        self.shape.iter().product()
    }
}

impl Tensor {
    /// `count` rows from `start` on, of all dimensions but the last taken together: a
    /// tensor of its own, since rows are whole blocks next to each other.
    pub(crate) fn rows(&self, start: u64, count: u64) -> Self {
        let columns = self.shape.last().copied().unwrap_or(1);
        let is_vector = self.shape.len() < 2;
        let total = if is_vector { columns } else { self.elements() / columns };
        let row_bytes = self.bytes / total;
        debug_assert!(start + count <= total, "{} has {total} rows", self.name);
        Self {
            name: format!("{}[{start}..{}]", self.name, start + count),
            dtype: self.dtype,
            shape: if is_vector { vec![count] } else { vec![count, columns] },
            file: self.file,
            offset: self.offset + start * row_bytes,
            bytes: count * row_bytes,
        }
    }
}

/// A parsed header: every tensor lies within the data part, aligned, without
/// overlap, under a name of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The format that the file is in.
    pub format: Format,
    /// The format's version: 2 or 3 for GGUF, 1 for safetensors.
    pub version: u32,
    /// The key-value pairs of the file.
    pub metadata: Metadata,
    /// Tensors in the order of the file, or of the files.
    pub tensors: Vec<Tensor>,
    /// The names of the files that tensors lie in, where they are several beside an
    /// [index](crate::safetensors::Index); else empty.
    pub files: Vec<String>,
    /// First byte of the data part, from the start of the (first) file.
    pub data_offset: u64,
    /// Bytes that the file must have at least: the end of the last tensor, or of
    /// the header if there is none. The sum of all files'.
    pub min_file_bytes: u64,
}

impl Header {
    /// The tensor of that name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|t| t.name == name)
    }
}

/// A header that cannot be used: where, what was found, what is allowed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{format} header, byte {offset}: {problem}")]
pub struct HeaderError {
    /// The format that the file was taken for.
    pub format: Format,
    /// The byte, from the start of the file, at which the offending item starts.
    pub offset: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a header.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Problem {
    #[error("the file starts with {found:02x?}; a GGUF file starts with the four bytes `GGUF`")]
    Magic { found: [u8; 4] },
    #[error("version {found} is not supported; allowed: {allowed}")]
    Version { found: u32, allowed: &'static str },
    #[error("the file is big-endian; convert it to little-endian")]
    BigEndian,
    #[error("{what} is {found}; allowed: up to {allowed}")]
    TooLarge { what: &'static str, found: u64, allowed: u64 },
    #[error("the file ends after {found} bytes; {what} needs {needed}: the file is cut short")]
    Truncated { what: &'static str, found: u64, needed: u64 },
    #[error("{what} is not UTF-8")]
    Utf8 { what: &'static str },
    #[error("metadata value type {found} is unknown; allowed: 0 to 12")]
    ValueType { found: u32 },
    #[error("a bool is {found}; allowed: 0 or 1")]
    Bool { found: u8 },
    #[error("metadata key {key:?} appears twice")]
    DuplicateKey { key: String },
    #[error("tensor {name:?} appears twice")]
    DuplicateTensor { name: String },
    #[error("tensor {name:?} has type {found}, which is unknown; known: {known}")]
    TensorType { name: String, found: String, known: String },
    #[error("tensor {name:?} has {found} dimensions; allowed: {allowed}")]
    Dimensions { name: String, found: u64, allowed: &'static str },
    #[error("tensor {name:?} has shape {shape:?}: {why}")]
    Shape { name: String, shape: Vec<u64>, why: &'static str },
    #[error("tensor {name:?} starts at {found} of the data part; it must be a multiple of {alignment}")]
    Misaligned { name: String, found: u64, alignment: u64 },
    #[error("alignment is {found}; it must be a power of two from 8 to 65536")]
    Alignment { found: u64 },
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap { first: String, second: String },
    #[error("tensor {name:?} ends at byte {end}, past the end of the file at byte {file}")]
    PastEnd { name: String, end: u64, file: u64 },
    #[error(
        "tensor {name:?} takes bytes {found:?} of the data part; its shape and type make {expected} bytes"
    )]
    Extent { name: String, found: (u64, u64), expected: u64 },
    #[error("the header is not valid JSON: {message}")]
    Json { message: String },
}

/// A file whose header cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("reading the header of {path}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The header is refused.
    #[error("reading the header of {path}")]
    Header {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: HeaderError,
    },
}

/// At most 64 bytes of a string from outside, for messages.
pub(crate) fn excerpt(s: &str) -> String {
    const MAX: usize = 64;
    if s.len() <= MAX {
        return s.to_owned();
    }
    let end = (0..=MAX).rev().find(|i| s.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", &s[..end])
}
