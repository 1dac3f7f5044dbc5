//! The index of a checkpoint that is cut into several files: which tensor is in which.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::header::excerpt;
use crate::{Format, Header, Metadata, Tensor};

/// Bytes that an index may have. Those of the largest models have nine million.
pub const MAX_INDEX_BYTES: usize = 16 << 20;

/// Files that a checkpoint may be cut into; real ones have up to 200.
const MAX_FILES: usize = 1024;

/// Bytes of a file's name.
const MAX_NAME_BYTES: usize = 255;

/// What a `model.safetensors.index.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Rising.
    files: Vec<String>,
    /// The index of each tensor's file.
    tensors: BTreeMap<String, usize>,
}

/// An index that cannot be used, or files that are not what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum IndexError {
    #[error("the index is not valid: {message}")]
    Json { message: String },
    #[error("the index has {found} bytes; allowed: up to {MAX_INDEX_BYTES}")]
    TooLarge { found: usize },
    #[error("the index names no tensors")]
    Empty,
    #[error("the index names {found} files; allowed: up to {MAX_FILES}")]
    Files { found: usize },
    #[error(
        "the index names the file {found:?}; a file lies beside it, and its name ends with `.safetensors`"
    )]
    Name { found: String },
    #[error("tensor {name:?} is in {found:?}, and the index says that it is in {said:?}")]
    Elsewhere { name: String, found: String, said: String },
    #[error("tensor {name:?} is in {found:?}, and not in the index")]
    Unnamed { name: String, found: String },
    #[error("tensor {name:?} is not in {said:?}, as the index says")]
    Missing { name: String, said: String },
}

impl Index {
    /// Parses an index, the whole of it.
    ///
    /// # Errors
    /// It is no index, or names files that do not lie beside it.
    pub fn parse(json: &[u8]) -> Result<Self, IndexError> {
        if json.len() > MAX_INDEX_BYTES {
            return Err(IndexError::TooLarge { found: json.len() });
        }
        let Whole { weight_map: Places(places) } =
            serde_json::from_slice(json).map_err(|error| IndexError::Json { message: error.to_string() })?;
        if places.is_empty() {
            return Err(IndexError::Empty);
        }
        let mut files = places.values().cloned().collect::<Vec<_>>();
        files.sort_unstable();
        files.dedup();
        if files.len() > MAX_FILES {
            return Err(IndexError::Files { found: files.len() });
        }
        if let Some(name) = files.iter().find(|name| !is_plain(name)) {
            return Err(IndexError::Name { found: excerpt(name) });
        }
        let tensors = places.into_iter().map(|(tensor, file)| {
            // Every file is among them.
            let at = files.binary_search(&file).unwrap_or_default();
            (tensor, at)
        });
        let tensors = tensors.collect();
        Ok(Self { files, tensors })
    }

    /// The names of the files, which lie beside the index.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// One header of those of all [files](Index::files), in their order.
    ///
    /// # Errors
    /// The files don't hold just the tensors that the index says, each in its place.
    pub fn join(self, headers: impl IntoIterator<Item = Header>) -> Result<Header, IndexError> {
        let Self { files, tensors: mut left } = self;
        let (mut tensors, mut min_file_bytes, mut data_offset) = (Vec::with_capacity(left.len()), 0u64, None);
        for (file, header) in headers.into_iter().enumerate().take(files.len()) {
            for tensor in header.tensors {
                // Where it is said to be, or was found before.
                let said = left.remove(&tensor.name).or_else(|| {
                    let same = |other: &&Tensor| other.name == tensor.name;
                    tensors.iter().find(same).map(|other| other.file)
                });
                if said == Some(file) {
                    tensors.push(Tensor { file, ..tensor });
                    continue;
                }
                let (name, found) = (excerpt(&tensor.name), files[file].clone());
                return Err(match said {
                    Some(said) => IndexError::Elsewhere { name, found, said: files[said].clone() },
                    None => IndexError::Unnamed { name, found },
                });
            }
            min_file_bytes = min_file_bytes.saturating_add(header.min_file_bytes);
            data_offset.get_or_insert(header.data_offset);
        }
        if let Some((name, said)) = left.into_iter().next() {
            return Err(IndexError::Missing { name: excerpt(&name), said: files[said].clone() });
        }
        Ok(Header {
            format: Format::Safetensors,
            version: 1,
            metadata: Metadata::default(),
            tensors,
            files,
            data_offset: data_offset.unwrap_or_default(),
            min_file_bytes,
        })
    }
}

/// Whether a name means a file of the same folder on every system.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| !matches!(c, '/' | '\\' | ':') && !c.is_control();
    name.len() <= MAX_NAME_BYTES
        && name.chars().all(plain)
        && !name.starts_with('.')
        && name.strip_suffix(".safetensors").is_some_and(|stem| !stem.is_empty())
}

#[derive(Deserialize)]
struct Whole {
    weight_map: Places,
}

/// The file of each tensor; refused if a tensor is named twice.
struct Places(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Places;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of files by tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Places, A::Error> {
                use serde::de::Error;
                let mut places = BTreeMap::new();
                while let Some((tensor, file)) = map.next_entry::<String, String>()? {
                    let named = excerpt(&tensor);
                    if places.insert(tensor, file).is_some() {
                        return Err(A::Error::custom(format_args!("{named:?} appears twice")));
                    }
                }
                Ok(Places(places))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::safetensors::{Progress, parse};

    /// A file of tensors of two floats each.
    fn shard(names: &[&str]) -> Header {
        let entry = |(at, name): (usize, &&str)| {
            format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{},{}]}}"#, at * 8, at * 8 + 8)
        };
        let json = format!("{{{}}}", names.iter().enumerate().map(entry).collect::<Vec<_>>().join(","));
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.bytes());
        bytes.resize(bytes.len() + names.len() * 8, 0);
        match parse(&bytes, Some(bytes.len() as u64)).unwrap() {
            Progress::Done(header) => *header,
            Progress::Need(more) => panic!("wants {more} of {} bytes", bytes.len()),
        }
    }

    fn index(map: &str) -> Result<Index, IndexError> {
        Index::parse(format!(r#"{{"metadata":{{"total_size":24}},"weight_map":{{{map}}}}}"#).as_bytes())
    }

    const THREE: &str = r#""a":"2.safetensors","b":"1.safetensors","c":"2.safetensors""#;

    #[test]
    fn files_become_one_header() {
        let index = index(THREE).unwrap();
        assert_eq!(index.files(), ["1.safetensors", "2.safetensors"]);
        let (one, two) = (shard(&["b"]), shard(&["a", "c"]));
        let sum = one.min_file_bytes + two.min_file_bytes;
        let header = index.join([one, two.clone()]).unwrap();
        let places = header.tensors.iter().map(|t| (t.name.as_str(), t.file)).collect::<Vec<_>>();
        assert_eq!(places, [("b", 0), ("a", 1), ("c", 1)]);
        assert_eq!(header.tensors[2].offset, two.tensors[1].offset);
        assert_eq!((header.min_file_bytes, header.files.len()), (sum, 2));
    }

    #[test]
    fn files_that_are_not_what_the_index_says_are_refused() {
        let refused = |shards: [&[&str]; 2]| index(THREE).unwrap().join(shards.map(shard)).unwrap_err();
        let message = |shards| refused(shards).to_string();
        assert_eq!(
            message([&["b", "c"], &["a"]]),
            r#"tensor "c" is in "1.safetensors", and the index says that it is in "2.safetensors""#
        );
        assert!(
            matches!(refused([&["b"], &["a", "c", "b"]]), IndexError::Elsewhere { name, .. } if name == "b")
        );
        assert!(message([&["b", "d"], &["a", "c"]]).contains("not in the index"));
        assert!(message([&["b"], &["a"]]).contains(r#""c" is not in "2.safetensors""#));
        // A file that nobody brought.
        let short = index(THREE).unwrap().join([shard(&["b"])]).unwrap_err();
        assert!(matches!(short, IndexError::Missing { .. }));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/b.safetensors",
            r"..\\x.safetensors",
            "C:x.safetensors",
            "..safetensors",
            ".safetensors",
            "..",
            "",
            "x",
            "x.bin",
            r"x\u0000.safetensors",
        ] {
            let error = index(&format!(r#""a":"{name}""#)).unwrap_err();
            assert!(matches!(error, IndexError::Name { .. }), "{name}: {error}");
        }
        let long = format!(r#""a":"{}.safetensors""#, "x".repeat(300));
        assert!(matches!(index(&long).unwrap_err(), IndexError::Name { .. }));
    }

    #[test]
    fn what_is_no_index_is_refused() {
        assert!(
            index(r#""a":"x.safetensors","a":"x.safetensors""#).unwrap_err().to_string().contains("twice")
        );
        assert_eq!(index(""), Err(IndexError::Empty));
        for json in ["", "{", "[]", "{}", r#"{"weight_map":3}"#, r#"{"weight_map":{"a":3}}"#] {
            assert!(matches!(Index::parse(json.as_bytes()), Err(IndexError::Json { .. })), "{json}");
        }
        let many = (0..=MAX_FILES).map(|i| format!(r#""{i}":"{i}.safetensors""#)).collect::<Vec<_>>();
        assert_eq!(index(&many.join(",")), Err(IndexError::Files { found: MAX_FILES + 1 }));
        let large = vec![b' '; MAX_INDEX_BYTES + 1];
        assert!(matches!(Index::parse(&large), Err(IndexError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Index::parse(&bytes);
        }

        #[test]
        fn files_lie_beside_the_index(name in ".{0,40}") {
            let json = serde_json::json!({"weight_map": {"a": format!("{name}.safetensors")}}).to_string();
            if let Ok(index) = Index::parse(json.as_bytes()) {
                let path = std::path::Path::new("folder").join(&index.files()[0]);
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("folder")));
            }
        }
    }
}
