//! Safetensors headers: a little-endian length, that many bytes of JSON, data.
//!
//! The parser waits for nothing and opens nothing: see [`crate::prefix`]. What is cut into
//! several files has an [`Index`] of them.

mod index;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::header::excerpt;
pub use index::{Index, IndexError, MAX_INDEX_BYTES};

pub use crate::prefix::{FIRST_READ_BYTES, MAX_HEADER_BYTES, Progress};
use crate::{
    DType, Format, Header, HeaderError, Metadata, Problem, ReadError, Tensor, Value, layout, prefix,
};

/// Bytes before the JSON.
const LENGTH_BYTES: u64 = 8;

/// Tensors that a header may have.
const MAX_TENSORS: usize = 1 << 16;

/// Dimensions that a tensor may have.
const MAX_DIMENSIONS: usize = 8;

/// The types of the format, by name. Unsigned, boolean and 8-bit float tensors
/// exist, but no model of ours has them.
const DTYPES: &[(&str, DType)] = &[
    ("F64", DType::F64),
    ("F32", DType::F32),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("I64", DType::I64),
    ("I32", DType::I32),
    ("I16", DType::I16),
    ("I8", DType::I8),
];

/// Parses the header at the start of `prefix`. With `file_bytes` (the size of
/// the whole file, where it is known) tensors past the end are found too.
///
/// # Errors
/// The bytes are not a header that can be used, whatever follows: the message
/// names the byte, what was found and what is allowed.
pub fn parse(prefix: &[u8], file_bytes: Option<u64>) -> Result<Progress, HeaderError> {
    let have = prefix.len() as u64;
    let short = |what, at, needed| prefix::too_short(Format::Safetensors, what, at, needed, have, file_bytes);
    let Some(length) = prefix.first_chunk().map(|b| u64::from_le_bytes(*b)) else {
        return short("the length of the header", 0, LENGTH_BYTES);
    };
    let allowed = MAX_HEADER_BYTES - LENGTH_BYTES;
    if length > allowed {
        return Err(error(0, Problem::TooLarge { what: "the length of the header", found: length, allowed }));
    }
    let end = LENGTH_BYTES + length;
    let json = usize::try_from(end).ok().and_then(|end| prefix.get(LENGTH_BYTES as usize..end));
    let Some(json) = json else { return short("the header", LENGTH_BYTES, end) };
    header(json, end, file_bytes).map(|header| Progress::Done(Box::new(header)))
}

/// Reads the header of a file, and not the data behind it.
///
/// # Errors
/// The file cannot be read, or its header cannot be used.
pub fn read_file(path: &Path) -> Result<Header, ReadError> {
    prefix::read_file(path, parse)
}

fn error(offset: u64, problem: Problem) -> HeaderError {
    HeaderError { format: Format::Safetensors, offset, problem }
}

fn header(json: &[u8], data_offset: u64, file_bytes: Option<u64>) -> Result<Header, HeaderError> {
    let entries: Entries = serde_json::from_slice(json).map_err(|e| {
        let at = LENGTH_BYTES + byte_of(json, e.line(), e.column());
        error(at, Problem::Json { message: e.to_string() })
    })?;
    let mut tensors = Vec::with_capacity(entries.tensors.len());
    for (name, entry) in entries.tensors {
        let refused = |(name, problem): (String, _)| error(LENGTH_BYTES + position(json, &name), problem);
        tensors.push(tensor(name, entry).map_err(refused)?);
    }
    let place = layout::place(&mut tensors, data_offset, file_bytes);
    let end =
        place.map_err(|(i, problem)| error(LENGTH_BYTES + position(json, &tensors[i].name), problem))?;
    let min_file_bytes = end.unwrap_or(data_offset);
    // The file's own order is that of the data.
    tensors.sort_by_key(|t| t.offset);
    let (metadata, files) = (entries.metadata, Vec::new());
    Ok(Header {
        format: Format::Safetensors,
        version: 1,
        metadata,
        tensors,
        files,
        data_offset,
        min_file_bytes,
    })
}

/// A tensor whose offset is still relative to the data part; or its name and
/// what is wrong with it.
fn tensor(name: String, entry: Entry) -> Result<Tensor, (String, Problem)> {
    let Entry { dtype, shape, data_offsets: (start, end) } = entry;
    let short = excerpt(&name);
    let Some((_, dtype)) = DTYPES.iter().find(|(known, _)| *known == dtype) else {
        let known = DTYPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err((name, Problem::TensorType { name: short, found: excerpt(&dtype), known }));
    };
    if shape.len() > MAX_DIMENSIONS {
        let found = shape.len() as u64;
        return Err((name, Problem::Dimensions { name: short, found, allowed: "up to 8" }));
    }
    let bytes = match layout::bytes(*dtype, &shape) {
        Ok(bytes) => bytes,
        Err(why) => return Err((name, Problem::Shape { name: short, shape, why })),
    };
    if end.checked_sub(start) != Some(bytes) {
        return Err((name, Problem::Extent { name: short, found: (start, end), expected: bytes }));
    }
    Ok(Tensor { name, dtype: *dtype, shape, file: 0, offset: start, bytes })
}

/// The byte that line and column (both from 1) mean.
fn byte_of(json: &[u8], line: usize, column: usize) -> u64 {
    let before: usize =
        json.split_inclusive(|b| *b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)) as u64
}

/// Where a key is written; 0 if it is written with escapes.
fn position(json: &[u8], key: &str) -> u64 {
    let quoted = format!("\"{key}\"");
    json.windows(quoted.len()).position(|w| w == quoted.as_bytes()).unwrap_or(0) as u64
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The whole JSON object, refused if a key appears twice.
struct Entries {
    metadata: Metadata,
    tensors: Vec<(String, Entry)>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                use serde::de::Error;
                let mut out = Entries { metadata: Metadata::default(), tensors: Vec::new() };
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format_args!("{:?} appears twice", excerpt(&key))));
                    }
                    if key == "__metadata__" {
                        let pairs: std::collections::BTreeMap<String, String> = map.next_value()?;
                        for (key, value) in pairs {
                            // The keys of a map differ.
                            let _ = out.metadata.insert(key, Value::String(value));
                        }
                    } else if out.tensors.len() == MAX_TENSORS {
                        let message = format_args!("more than {MAX_TENSORS} tensors");
                        return Err(A::Error::custom(message));
                    } else {
                        out.tensors.push((key, map.next_value()?));
                    }
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut out = (json.len() as u64).to_le_bytes().to_vec();
        out.extend_from_slice(json.as_bytes());
        out.resize(out.len() + data, 0);
        out
    }

    fn whole(bytes: &[u8]) -> Result<Header, HeaderError> {
        match parse(bytes, Some(bytes.len() as u64))? {
            Progress::Done(header) => Ok(*header),
            Progress::Need(n) => panic!("wants {n} of {} bytes", bytes.len()),
        }
    }

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},
        "a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}"#;

    #[test]
    fn reads_tensors_in_data_order() {
        let bytes = file(TWO, 24);
        let header = whole(&bytes).unwrap();
        assert_eq!(header.metadata.require_str("format"), Ok("pt"));
        let names: Vec<_> = header.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(header.data_offset, 8 + TWO.len() as u64);
        assert_eq!(header.tensors[1].offset, header.data_offset + 8);
        assert_eq!(header.min_file_bytes, bytes.len() as u64);
    }

    #[test]
    fn asks_for_what_is_missing() {
        let bytes = file(TWO, 24);
        assert!(matches!(parse(&bytes[..4], None), Ok(Progress::Need(n)) if n >= 8));
        assert!(matches!(parse(&bytes[..20], None), Ok(Progress::Need(n)) if n >= 8 + TWO.len() as u64));
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        let cases = [
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "make 8 bytes"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "make 8 bytes"),
            (r#"{"a":{"dtype":"Q9","shape":[2],"data_offsets":[0,8]}}"#, "unknown; known: F64"),
            (r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#, "a dimension is 0"),
            (r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#, "63 bits"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}"#, "appears twice"),
            (
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                "overlap",
            ),
            (r#"{"a":{"dtype":"F32","shape":[200],"data_offsets":[0,800]}}"#, "past the end"),
            ("[1]", "an object of tensors"),
            ("{", "not valid JSON"),
        ];
        for (json, expected) in cases {
            let message = whole(&file(json, 16)).unwrap_err().to_string();
            assert!(message.contains(expected), "{json}: {message}");
        }
        let huge = u64::MAX.to_le_bytes();
        assert!(parse(&huge, None).unwrap_err().to_string().contains("allowed: up to"));
        let cut = whole(&file(TWO, 0)[..20]).unwrap_err();
        assert!(cut.to_string().contains("cut short"), "{cut}");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&bytes, None);
            let _ = parse(&bytes, Some(bytes.len() as u64));
        }

        #[test]
        fn mutated_headers_give_an_answer(at in 0usize..180, to in any::<u8>()) {
            let mut bytes = file(TWO, 24);
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = parse(&bytes, Some(bytes.len() as u64));
        }
    }
}
