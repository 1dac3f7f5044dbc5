//! Sizes as Kubernetes quantities: `1Gi`, `500M`, `1.5Ti`, `1073741824`.

use std::{borrow::Cow, fmt, str::FromStr};

use k8s_openapi::apimachinery::pkg::api::resource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, together with the text it was written as, so that what is
/// handed on to Kubernetes is what the person wrote.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    bytes: u64,
}

/// Why a text is no [`Quantity`] of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a size in bytes; write a number with one of the suffixes Ki, Mi, Gi, Ti, Pi, k, M, G, T, P or none, such as 1Gi"
)]
pub struct QuantityError(String);

const SUFFIXES: [(&str, u64); 10] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

impl Quantity {
    /// The size in bytes; a fraction of a byte is rounded up.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text)
            .map(|bytes| Self { text: text.to_owned(), bytes })
            .ok_or_else(|| QuantityError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let (number, unit) = SUFFIXES
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |s: &str, max| s.len() <= max && s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole, 15) || !is_digits(fraction, 9) || number.ends_with('.') {
        return None;
    }
    let unit = u128::from(unit);
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    // What u64 can't say is more than any disk, so saturating is exact enough.
    Some(u64::try_from(digits.saturating_mul(unit).div_ceil(scale)).unwrap_or(u64::MAX))
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Quantity {}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<u64> for Quantity {
    fn from(bytes: u64) -> Self {
        Self { text: bytes.to_string(), bytes }
    }
}

impl From<&Quantity> for resource::Quantity {
    fn from(quantity: &Quantity) -> Self {
        Self(quantity.text.clone())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(u64),
            String(String),
        }
        match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(bytes) => Ok(bytes.into()),
            IntOrString::String(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The bounds guard the integer form, the pattern the text.
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": 0,
            "maxLength": 27,
            "pattern": "^[0-9]{1,15}(\\.[0-9]{1,9})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_families_of_suffixes() {
        for (text, bytes) in [
            ("0", 0),
            ("1Ki", 1024),
            ("1k", 1000),
            ("1.5Gi", 3 << 29),
            ("200Gi", 200 << 30),
            ("500M", 500_000_000),
            ("0.0000001k", 1),
            ("999999999999999.999999999Pi", u64::MAX),
        ] {
            assert_eq!(text.parse::<Quantity>().expect(text).bytes(), bytes);
        }
    }

    #[test]
    fn refuses_with_the_text_and_the_remedy() {
        for text in
            ["", "Gi", "-1Gi", "1gi", "1 Gi", "1.Gi", ".5Gi", "1e3", "1m", "1234567890123456", "+1", "１Gi"]
        {
            let error = text.parse::<Quantity>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("1Gi"), "{error}");
        }
    }

    #[test]
    fn keeps_the_text() {
        let quantity: Quantity = serde_json::from_str("\"1.5Gi\"").expect("a quantity");
        assert_eq!(serde_json::to_string(&quantity).expect("serializes"), "\"1.5Gi\"");
        let quantity: Quantity = serde_json::from_str("1024").expect("an integer");
        assert_eq!((quantity.bytes(), quantity.as_str()), (1024, "1024"));
    }
}
