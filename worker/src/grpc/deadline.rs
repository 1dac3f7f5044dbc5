//! The time that a client gives a call.

use std::time::{Duration, Instant};

use tonic::Status;
use tonic::metadata::MetadataMap;

/// The deadline in a call's `grpc-timeout`, counted from now; `None` if it
/// names none, or one that makes no sense.
///
/// tonic itself looks at the header only until a response begins, and then
/// answers CANCELLED; a stream has to look for itself.
///
/// # Errors
/// `DEADLINE_EXCEEDED` if it is past already.
pub(super) fn deadline(metadata: &MetadataMap, now: Instant) -> Result<Option<Instant>, Status> {
    let Some(limit) = metadata.get("grpc-timeout").and_then(|v| parse(v.to_str().ok()?)) else {
        return Ok(None);
    };
    if limit.is_zero() {
        return Err(exceeded());
    }
    // A deadline beyond what the clock can count is none.
    Ok(now.checked_add(limit))
}

pub(super) fn exceeded() -> Status {
    Status::deadline_exceeded("the deadline of the call passed")
}

/// Up to eight digits and a unit, as the gRPC protocol has it.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn timeouts() {
        assert_eq!(parse("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "1", "1x", "-1S", "123456789S", "1.5S", "é"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn past_already() {
        let mut metadata = MetadataMap::new();
        assert!(matches!(deadline(&metadata, Instant::now()), Ok(None)));
        metadata.insert("grpc-timeout", "0n".parse().unwrap());
        let status = deadline(&metadata, Instant::now()).unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
}
