//! What people call the mix of types in a file.

use crate::{DType, Header, Tensor};

/// Set by converters that guessed the mix.
const GUESSED: u64 = 1024;

/// The names that `general.file_type` stands for.
const FILE_TYPES: &[(u64, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4_MOE"),
];

/// The mixes that the reference engine reads, best first: what `Auto` prefers
/// is decided by who picks a file, not here.
///
/// A mix holds other types than its name says: rows that are no whole blocks of 256
/// get a type with blocks of 32, `Q5_0` in the place of `Q4_K`, `Q5_1` of `Q5_K`,
/// `Q8_0` of `Q6_K` and `IQ4_NL` of what is smaller. All of them are
/// [`DType::READABLE`].
pub const READABLE: &[&str] = &[
    "F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1",
    "IQ4_NL", "IQ4_XS", "Q4_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S",
];

/// Every name that a file may have, in the order of `general.file_type`.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILE_TYPES.iter().map(|(_, name)| *name)
}

/// The name that occurs in a file name (`model-Q4_K_M.gguf`), as a whole word
/// and in any case. The longest one wins: `Q4_K_M` is not `Q4_K`.
#[must_use]
pub fn in_file_name(file: &str) -> Option<&'static str> {
    let file = file.to_ascii_uppercase();
    // A word ends where neither a letter, a digit nor an underscore follows.
    let is_edge = |c: Option<u8>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != b'_');
    let occurs = |name: &str| {
        file.match_indices(name).any(|(at, _)| {
            let before = at.checked_sub(1).map(|i| file.as_bytes()[i]);
            is_edge(before) && is_edge(file.as_bytes().get(at + name.len()).copied())
        })
    };
    names().filter(|name| occurs(name)).max_by_key(|name| name.len())
}

/// The name for a header: by `general.file_type`, else by the type that most
/// bytes have.
#[must_use]
pub fn of(header: &Header) -> String {
    let named = header.metadata.get("general.file_type").and_then(crate::Value::as_u64).and_then(|id| {
        FILE_TYPES.iter().find(|(known, _)| *known == id & !GUESSED).map(|(_, name)| (*name).to_owned())
    });
    named.unwrap_or_else(|| dominant(&header.tensors).map_or_else(|| "unknown".to_owned(), |t| t.to_string()))
}

fn dominant(tensors: &[Tensor]) -> Option<DType> {
    let bytes_of =
        |t: &DType| -> u128 { tensors.iter().filter(|x| x.dtype == *t).map(|x| u128::from(x.bytes)).sum() };
    DType::ALL.iter().copied().filter(|t| bytes_of(t) > 0).max_by_key(bytes_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_read_word_by_word() {
        assert_eq!(in_file_name("SmolLM2-135M-Instruct.Q4_1.gguf"), Some("Q4_1"));
        assert_eq!(in_file_name("llama-3.2-1b-q4_k_m.gguf"), Some("Q4_K_M"));
        assert_eq!(in_file_name("model-bf16.gguf"), Some("BF16"));
        assert_eq!(in_file_name("MyQ8_0x.gguf"), None);
        assert_eq!(in_file_name("model.gguf"), None);
    }

    #[test]
    fn readable_mixes_are_known_names() {
        for name in READABLE {
            assert!(names().any(|known| known == *name), "{name}");
        }
    }
}
