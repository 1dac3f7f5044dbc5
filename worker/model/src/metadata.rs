//! The key-value part of a header.

use std::collections::BTreeMap;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of one element type, stored as what it is: a byte array of a
/// million elements takes a million bytes.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Array {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Array(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as integers; `None` if they are not integers, or negative.
    #[must_use]
    pub fn to_u64s(&self) -> Option<Vec<u64>> {
        fn signed<T: Copy + TryInto<u64>>(v: &[T]) -> Option<Vec<u64>> {
            v.iter().map(|x| (*x).try_into().ok()).collect()
        }
        match self {
            Self::U8(v) => signed(v),
            Self::I8(v) => signed(v),
            Self::U16(v) => signed(v),
            Self::I16(v) => signed(v),
            Self::U32(v) => signed(v),
            Self::I32(v) => signed(v),
            Self::U64(v) => Some(v.clone()),
            Self::I64(v) => signed(v),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }
}

impl Value {
    /// The name of the value's type, for messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        }
    }

    /// The value as a non-negative integer, whatever its width.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }
}

/// Why a metadata value cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetadataError {
    /// The key is not there.
    #[error("metadata key `{key}` is missing; it must be {wanted}")]
    Missing {
        /// The key.
        key: String,
        /// What is expected of it.
        wanted: &'static str,
    },
    /// The value is of another type, or an integer out of range for it.
    #[error("metadata key `{key}` is {found}; it must be {wanted}")]
    Type {
        /// The key.
        key: String,
        /// What was found.
        found: String,
        /// What is expected of it.
        wanted: &'static str,
    },
    /// The value is out of range.
    #[error("metadata key `{key}` is {found}; allowed: {allowed}")]
    Range {
        /// The key.
        key: String,
        /// The value found.
        found: String,
        /// What is allowed.
        allowed: String,
    },
}

/// The key-value pairs of a header, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $require:ident, $ty:ty, $wanted:literal, $pat:pat => $out:expr) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The value is of another type or does not fit.
        pub fn $name(&self, key: &str) -> Result<Option<$ty>, MetadataError> {
            match self.0.get(key) {
                None => Ok(None),
                Some($pat) => $out.map(Some).ok_or_else(|| self.wrong(key, $wanted)),
                #[allow(unreachable_patterns)]
                Some(_) => Err(self.wrong(key, $wanted)),
            }
        }

        /// As the getter without `require`, for a key that must be there.
        ///
        /// # Errors
        /// The key is missing, its value is of another type or does not fit.
        pub fn $require(&self, key: &str) -> Result<$ty, MetadataError> {
            self.$name(key)?.ok_or_else(|| MetadataError::Missing { key: key.to_owned(), wanted: $wanted })
        }
    };
}

impl Metadata {
    /// Adds a pair; gives the value back if the key is taken.
    ///
    /// # Errors
    /// The key is taken.
    pub fn insert(&mut self, key: String, value: Value) -> Result<(), Value> {
        match self.0.entry(key) {
            std::collections::btree_map::Entry::Occupied(_) => Err(value),
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(value);
                Ok(())
            }
        }
    }

    /// The value of a key, of whatever type.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    getter!(
        /// An integer that fits 32 bits, of whatever width in the file.
        u32, require_u32, u32, "an integer from 0 to 4294967295",
        v => v.as_u64().and_then(|v| u32::try_from(v).ok())
    );
    getter!(
        /// A non-negative integer of whatever width in the file.
        u64, require_u64, u64, "a non-negative integer", v => v.as_u64()
    );
    getter!(
        /// A float.
        f32, require_f32, f32, "a float", v => match v {
            Value::F32(v) => Some(*v),
            #[allow(clippy::cast_possible_truncation)]
            Value::F64(v) => Some(*v as f32),
            _ => None,
        }
    );
    getter!(
        /// A truth value.
        bool, require_bool, bool, "a bool", Value::Bool(v) => Some(*v)
    );
    getter!(
        /// A string.
        str, require_str, &str, "a string", Value::String(v) => Some(v.as_str())
    );
    getter!(
        /// An array of strings.
        strings, require_strings, &[String], "an array of strings",
        Value::Array(Array::String(v)) => Some(v.as_slice())
    );
    getter!(
        /// An array of 32-bit floats.
        f32s, require_f32s, &[f32], "an array of f32",
        Value::Array(Array::F32(v)) => Some(v.as_slice())
    );
    getter!(
        /// An array of non-negative integers.
        u64s, require_u64s, Vec<u64>, "an array of non-negative integers",
        Value::Array(v) => v.to_u64s()
    );

    fn wrong(&self, key: &str, wanted: &'static str) -> MetadataError {
        let found = match self.0.get(key) {
            None => "missing".to_owned(),
            Some(Value::Array(a)) => format!("an array of {} elements", a.len()),
            Some(Value::String(s)) => format!("the string {:?}", crate::header::excerpt(s)),
            Some(other) => match other.as_u64() {
                Some(n) => format!("the {} {n}", other.type_name()),
                None => format!("{other:?}"),
            },
        };
        MetadataError::Type { key: key.to_owned(), found, wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getters_widen_and_name_what_is_wrong() {
        let mut m = Metadata::default();
        m.insert("a".into(), Value::U8(7)).unwrap();
        m.insert("b".into(), Value::I32(-1)).unwrap();
        m.insert("c".into(), Value::String("x".into())).unwrap();
        assert_eq!(m.require_u32("a"), Ok(7));
        assert!(m.u32("b").is_err());
        assert_eq!(m.u32("absent"), Ok(None));
        assert_eq!(m.require_str("c"), Ok("x"));
        let message = m.require_bool("c").unwrap_err().to_string();
        assert_eq!(message, "metadata key `c` is the string \"x\"; it must be a bool");
        assert!(m.insert("a".into(), Value::Bool(true)).is_err());
    }
}
