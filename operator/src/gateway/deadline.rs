//! How long a call may take.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use super::refusal::Refusal;

/// What a call may take where the client does not say, and at the most.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLimits {
    /// How long a call without a deadline waits for a replica.
    pub default_wait: Duration,
    /// The longest that any call may take.
    pub max: Duration,
}

/// The end of one call.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// A request that no replica has taken by then fails.
    pub wait: Instant,
    /// A request that is not answered in full by then fails.
    pub end: Instant,
    began: Instant,
}

impl Deadline {
    /// The deadline of a call that names none.
    pub fn unnamed(limits: DeadlineLimits, now: Instant) -> Self {
        let end = now + limits.max;
        Self { wait: (now + limits.default_wait).min(end), end, began: now }
    }

    /// The deadline in a call's `grpc-timeout`, else [`Deadline::unnamed`].
    ///
    /// # Errors
    /// A value that is not a gRPC timeout is refused, and so is one that has passed.
    pub fn of_metadata(
        metadata: &MetadataMap,
        limits: DeadlineLimits,
        now: Instant,
    ) -> Result<Self, Refusal> {
        let Some(value) = metadata.get("grpc-timeout") else { return Ok(Self::unnamed(limits, now)) };
        let timeout = value.to_str().ok().and_then(parse_timeout).ok_or_else(|| {
            Refusal::invalid(
                "grpc-timeout",
                format!("{value:?} is not a timeout: send 1 to 8 digits and one of the units H M S m u n"),
            )
        })?;
        let end = now + timeout.min(limits.max);
        let deadline = Self { wait: end, end, began: now };
        if timeout.is_zero() {
            Err(deadline.passed("the deadline had passed on arrival"))
        } else {
            Ok(deadline)
        }
    }

    /// What is left until the end.
    pub fn left(&self, now: Instant) -> Duration {
        self.end.saturating_duration_since(now)
    }

    /// Whether the end is here, or so near that whoever reported it may have counted in other
    /// milliseconds.
    pub fn is_over(&self, now: Instant) -> bool {
        self.left(now) < Duration::from_millis(5)
    }

    /// The refusal of a call whose time is up, with what it was doing.
    pub fn passed(&self, doing: &str) -> Refusal {
        Refusal::DeadlinePassed { after: self.began.elapsed(), doing: doing.to_owned() }
    }
}

/// The value of a `grpc-timeout` header: 1 to 8 digits and a unit.
fn parse_timeout(value: &str) -> Option<Duration> {
    let unit = value.chars().next_back()?;
    let digits = value.strip_suffix(unit)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DeadlineLimits =
        DeadlineLimits { default_wait: Duration::from_secs(600), max: Duration::from_secs(3600) };

    fn of(value: &'static str) -> Result<Deadline, Refusal> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", value.parse().unwrap());
        Deadline::of_metadata(&metadata, LIMITS, Instant::now())
    }

    #[test]
    fn timeouts() {
        assert_eq!(parse_timeout("15S"), Some(Duration::from_secs(15)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        for bad in ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S", "1é", "é"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_named_deadline_bounds_both_waiting_and_the_whole() {
        let deadline = of("15S").unwrap();
        assert_eq!(deadline.wait, deadline.end);
        assert_eq!(deadline.end - deadline.began, Duration::from_secs(15));
        assert_eq!(of("99H").map(|deadline| deadline.end - deadline.began).unwrap(), LIMITS.max);
    }

    #[test]
    fn without_one_only_waiting_is_short() {
        let deadline = Deadline::unnamed(LIMITS, Instant::now());
        assert_eq!(deadline.wait - deadline.began, LIMITS.default_wait);
        assert_eq!(deadline.end - deadline.began, LIMITS.max);
    }

    #[test]
    fn a_passed_deadline_and_nonsense_are_refused() {
        assert!(matches!(of("0n"), Err(Refusal::DeadlinePassed { .. })));
        assert!(matches!(of("soon"), Err(Refusal::Invalid(_))));
    }
}
