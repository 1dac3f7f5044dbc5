//! GGUF headers, versions 2 and 3: little-endian; magic, version, counts,
//! key-value pairs, tensor descriptions, padding, data.
//!
//! The parser waits for nothing and opens nothing: see [`crate::prefix`]. No
//! allocation is larger than a small multiple of the bytes that are there.

mod cursor;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashSet;
use std::path::Path;

use cursor::{Cursor, Stop};

use crate::header::excerpt;
pub use crate::prefix::{FIRST_READ_BYTES, MAX_HEADER_BYTES, Progress};
use crate::{DType, Format, Header, HeaderError, Metadata, Problem, ReadError, Tensor, layout, prefix};

/// Key-value pairs that a header may have; real files have under 100.
pub const MAX_KEYS: u64 = 1 << 16;

/// Tensors that a header may have; real files have up to a few thousand.
pub const MAX_TENSORS: u64 = 1 << 16;

/// What alignment is when the file names none.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Bytes that a key may take, by the format's own rule.
const MAX_KEY_BYTES: u64 = 65_535;

/// Bytes that a tensor's name may take. The format says 64; there are files
/// with more.
const MAX_NAME_BYTES: u64 = 256;

/// Parses the header at the start of `prefix`. With `file_bytes` (the size of
/// the whole file, where it is known) tensors past the end are found too.
///
/// # Errors
/// The bytes are not a header that can be used, whatever follows: the message
/// names the byte, what was found and what is allowed. A prefix of the whole
/// file (`prefix.len() == file_bytes`) that is too short is an error as well.
pub fn parse(prefix: &[u8], file_bytes: Option<u64>) -> Result<Progress, HeaderError> {
    let mut cursor = Cursor::new(prefix);
    match header(&mut cursor, file_bytes) {
        Ok(header) => Ok(Progress::Done(Box::new(header))),
        Err(Stop::Bad(error)) => Err(error),
        Err(Stop::Short { what, needed }) => {
            prefix::too_short(Format::Gguf, what, cursor.offset(), needed, prefix.len() as u64, file_bytes)
        }
    }
}

/// Reads the header of a file, and not the data behind it.
///
/// # Errors
/// The file cannot be read, or its header cannot be used.
pub fn read_file(path: &Path) -> Result<Header, ReadError> {
    prefix::read_file(path, parse)
}

fn header(cursor: &mut Cursor<'_>, file_bytes: Option<u64>) -> Result<Header, Stop> {
    let version = preamble(cursor)?;
    let tensor_count = cursor.count("the number of tensors", MAX_TENSORS)?;
    let key_count = cursor.count("the number of metadata keys", MAX_KEYS)?;

    let mut metadata = Metadata::default();
    for _ in 0..key_count {
        let at = cursor.offset();
        let key = cursor.string("a metadata key", MAX_KEY_BYTES)?;
        let value = values::value(cursor)?;
        if metadata.insert(key.to_owned(), value).is_err() {
            return Err(Stop::bad(at, Problem::DuplicateKey { key: excerpt(key) }));
        }
    }
    let at = cursor.offset();
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => value.as_u64().unwrap_or(0),
    };
    if !(8..=65_536).contains(&alignment) || !alignment.is_power_of_two() {
        return Err(Stop::bad(at, Problem::Alignment { found: alignment }));
    }

    let mut tensors = Vec::with_capacity(cursor.at_most(tensor_count, MIN_TENSOR_BYTES));
    let mut described_at = Vec::with_capacity(tensors.capacity());
    let mut names = HashSet::new();
    for _ in 0..tensor_count {
        let at = cursor.offset();
        let tensor = tensor(cursor, alignment)?;
        if !names.insert(tensor.name.clone()) {
            return Err(Stop::bad(at, Problem::DuplicateTensor { name: excerpt(&tensor.name) }));
        }
        tensors.push(tensor);
        described_at.push(at);
    }
    // The header is at most as long as the prefix, so this cannot overflow.
    let data_offset = cursor.offset().next_multiple_of(alignment);
    let end = layout::place(&mut tensors, data_offset, file_bytes)
        .map_err(|(i, problem)| Stop::bad(described_at[i], problem))?;
    // Without tensors there need be no padding either.
    let min_file_bytes = end.unwrap_or(cursor.offset());
    let files = Vec::new();
    Ok(Header { format: Format::Gguf, version, metadata, tensors, files, data_offset, min_file_bytes })
}

/// The version, from magic and version.
fn preamble(cursor: &mut Cursor<'_>) -> Result<u32, Stop> {
    let found = cursor.array::<4>("the magic number")?;
    if &found != b"GGUF" {
        return Err(Stop::bad(0, Problem::Magic { found }));
    }
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => Ok(version),
        v if matches!(v.swap_bytes(), 1..=3) => Err(Stop::bad(4, Problem::BigEndian)),
        found => Err(Stop::bad(4, Problem::Version { found, allowed: "2 and 3" })),
    }
}

/// An empty name's length, one dimension, type and offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// A tensor whose offset is still relative to the data part.
fn tensor(cursor: &mut Cursor<'_>, alignment: u64) -> Result<Tensor, Stop> {
    let name = cursor.string("a tensor's name", MAX_NAME_BYTES)?.to_owned();
    let at = cursor.offset();
    let dimensions = cursor.u32("a tensor's number of dimensions")?;
    if !(1..=4).contains(&dimensions) {
        let problem = Problem::Dimensions { name, found: dimensions.into(), allowed: "1 to 4" };
        return Err(Stop::bad(at, problem));
    }
    let shape_at = cursor.offset();
    let mut shape = Vec::with_capacity(4);
    for _ in 0..dimensions {
        shape.push(cursor.u64("a tensor's shape")?);
    }
    // The file has the innermost dimension first.
    shape.reverse();

    let at = cursor.offset();
    let id = cursor.u32("a tensor's type")?;
    let Some(dtype) = DType::from_gguf(id) else {
        let known = DType::ALL.iter().map(|t| t.name()).collect::<Vec<_>>().join(", ");
        return Err(Stop::bad(at, Problem::TensorType { name, found: id.to_string(), known }));
    };
    let bytes = match layout::bytes(dtype, &shape) {
        Ok(bytes) => bytes,
        Err(why) => return Err(Stop::bad(shape_at, Problem::Shape { name, shape, why })),
    };

    let at = cursor.offset();
    let offset = cursor.u64("a tensor's offset")?;
    if !offset.is_multiple_of(alignment) {
        return Err(Stop::bad(at, Problem::Misaligned { name, found: offset, alignment }));
    }
    Ok(Tensor { name, dtype, shape, file: 0, offset, bytes })
}
