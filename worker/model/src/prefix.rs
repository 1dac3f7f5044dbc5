//! Parsing from the front of a file, however much of it there is.
//!
//! A parser is fed a prefix and either finishes or says how long a prefix it
//! wants next. It starts over each time and asks for at least twice what it had,
//! so that all attempts together cost about twice the last one.

use std::io::Read;
use std::path::Path;

use crate::{Format, Header, HeaderError, Problem, ReadError};

/// Bytes that a header may take. The largest vocabularies in use (262,144
/// tokens with merges) take 16 MiB.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;

/// A prefix length to begin with: holds the header of many models.
pub const FIRST_READ_BYTES: u64 = 1 << 20;

/// How far a parse has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The prefix is too short: call again with this many bytes from the start
    /// of the file (or with all of it, if it is shorter).
    Need(u64),
    /// The whole header was in the prefix.
    Done(Box<Header>),
}

/// What to do about a prefix of `have` bytes that had to have `needed` for
/// `what`, which starts at byte `at`.
pub(crate) fn too_short(
    format: Format,
    what: &'static str,
    at: u64,
    needed: u64,
    have: u64,
    file_bytes: Option<u64>,
) -> Result<Progress, HeaderError> {
    let refuse = |problem| Err(HeaderError { format, offset: at, problem });
    if let Some(found) = file_bytes.filter(|size| *size < needed) {
        return refuse(Problem::Truncated { what, found, needed });
    }
    if needed > MAX_HEADER_BYTES {
        return refuse(Problem::TooLarge {
            what: "the length of the header",
            found: needed,
            allowed: MAX_HEADER_BYTES,
        });
    }
    let wanted = needed.max(have.saturating_mul(2)).clamp(64, MAX_HEADER_BYTES);
    Ok(Progress::Need(file_bytes.map_or(wanted, |size| wanted.min(size))))
}

/// Reads the header of a file with `parse`, and not much behind it.
pub(crate) fn read_file(
    path: &Path,
    parse: impl Fn(&[u8], Option<u64>) -> Result<Progress, HeaderError>,
) -> Result<Header, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut prefix = Vec::new();
    let mut wanted = FIRST_READ_BYTES;
    loop {
        let missing = wanted.saturating_sub(prefix.len() as u64);
        let got = file.by_ref().take(missing).read_to_end(&mut prefix).map_err(io)? as u64;
        // A file that ends early is as long as what could be read of it.
        let size = if got < missing { prefix.len() as u64 } else { size };
        match parse(&prefix, Some(size)) {
            Ok(Progress::Done(header)) => return Ok(*header),
            Ok(Progress::Need(more)) => wanted = more,
            Err(source) => return Err(ReadError::Header { path: path.to_owned(), source }),
        }
    }
}
