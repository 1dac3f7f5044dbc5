//! Spans of time as people write them in a manifest: `90s`, `30m`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A whole number of seconds, written with the units `h`, `m` and `s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

/// Why a text is no [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write hours, minutes and seconds in that order, such as 90s, 30m or 1h30m")]
pub struct DurationError(String);

impl Duration {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// So many minutes.
    #[must_use]
    pub const fn from_mins(minutes: u64) -> Self {
        Self(minutes * 60)
    }

    /// The length in seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_secs(duration.0)
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError(text.to_owned());
        let mut units = [('h', 3600), ('m', 60), ('s', 1)].into_iter();
        let mut rest = text;
        let mut seconds = 0u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.chars().next().ok_or_else(error)?;
            // The iterator only goes on: a unit out of order or twice is not found.
            let (_, factor) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(error)?;
            let number: u64 = number.parse().map_err(|_| error())?;
            seconds = number.checked_mul(factor).and_then(|s| s.checked_add(seconds)).ok_or_else(error)?;
            rest = &tail[1..];
        }
        if text.is_empty() { Err(error()) } else { Ok(Self(seconds)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, m, s) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        for (number, unit) in [(h, 'h'), (m, 'm')] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        if s > 0 || self.0 == 0 { write!(f, "{s}s") } else { Ok(()) }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // At most six digits a unit, so that whatever the API server stores
        // also parses here. That some unit is there is a CEL rule of the fields:
        // RE2 has no look-ahead to say it in one pattern.
        json_schema!({
            "type": "string",
            "maxLength": 21,
            "pattern": "^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, seconds, canonical) in [
            ("90s", 90, "1m30s"),
            ("30m", 1800, "30m"),
            ("1h30m", 5400, "1h30m"),
            ("2h", 7200, "2h"),
            ("0s", 0, "0s"),
            ("1h0m1s", 3601, "1h1s"),
            ("999999h999999m999999s", 999_999 * 3661, "1016943h25m39s"),
        ] {
            let duration: Duration = text.parse().expect(text);
            assert_eq!((duration.as_secs(), duration.to_string().as_str()), (seconds, canonical));
            assert_eq!(canonical.parse(), Ok(duration));
        }
    }

    #[test]
    fn refuses_with_the_text_and_the_remedy() {
        for text in
            ["", "30", "m", "1m1h", "1m1m", "-1m", "1.5h", "1 h", "99999999999999999999s", "5d", "1mé"]
        {
            let error = text.parse::<Duration>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("1h30m"), "{error}");
        }
    }
}
