//! GGUF headers, versions 2 and 3.

use std::path::Path;

use crate::{Header, HeaderError, ReadError};

/// How far a parse has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The prefix is too short: call again with at least this many bytes from
    /// the start of the file (or with all of it, if it is shorter).
    Need(u64),
    /// The whole header was in the prefix.
    Done(Box<Header>),
}

/// Parses the header at the start of `prefix`.
///
/// # Errors
/// The bytes are not a header that can be used, whatever follows.
pub fn parse(prefix: &[u8], file_bytes: Option<u64>) -> Result<Progress, HeaderError> {
    let _ = (prefix, file_bytes);
    Ok(Progress::Need(0))
}

/// Reads the header of a file, and nothing behind it.
///
/// # Errors
/// The file cannot be read, or its header cannot be used.
pub fn read_file(path: &Path) -> Result<Header, ReadError> {
    let _ = path;
    Err(ReadError::Io { path: path.to_owned(), source: std::io::ErrorKind::Unsupported.into() })
}
