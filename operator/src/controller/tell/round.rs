//! Numbers for people: round, so that a status is not rewritten for nothing.

use std::time::Duration;

use hearth_api::Duration as ApiDuration;

const MIB: u64 = 1 << 20;

/// Per cent in steps of five, and the bytes that this is.
pub(super) fn progress(done: u64, total: u64) -> (u32, u64) {
    let (done, total) = (u128::from(done.min(total)), u128::from(total.max(1)));
    let percent = u32::try_from(done * 20 / total * 5).unwrap_or(100);
    (percent, u64::try_from(total * u128::from(percent) / 100).unwrap_or(u64::MAX))
}

/// Beyond this, a guess says nothing but "long".
const LONGEST_ETA: Duration = Duration::from_secs(30 * 24 * 3600);

/// Seconds in steps that grow with the span.
pub(super) fn eta(eta: Duration) -> ApiDuration {
    let seconds = eta.min(LONGEST_ETA).as_secs();
    let step = match seconds {
        0..60 => 5,
        60..600 => 30,
        600..3600 => 60,
        _ => 600,
    };
    ApiDuration::from_secs(seconds.div_ceil(step) * step)
}

/// Memory in use, rounded up to 1/64 of the whole.
pub(super) fn used(bytes: u64, whole: u64) -> u64 {
    let step = step(whole);
    bytes.div_ceil(step).saturating_mul(step)
}

/// Memory that is free, rounded down to 1/64 of the whole.
pub(super) fn free(bytes: u64, whole: u64) -> u64 {
    let step = step(whole);
    bytes / step * step
}

/// Bytes in a store, rounded up to about 1/64 of what it can hold, and those of
/// them that nobody needs, rounded down. No process's memory trembles here, so that
/// the steps of a small store are small.
pub(super) fn stored(used: u64, unused: u64, whole: u64) -> (u64, u64) {
    let step = (whole / 64).next_power_of_two().max(64 << 10);
    let used = used.div_ceil(step).saturating_mul(step).min(whole);
    (used, (unused / step * step).min(used))
}

/// At least 64 MiB, because every process's memory trembles.
fn step(whole: u64) -> u64 {
    (whole / 64).next_power_of_two().max(64 * MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_move_in_steps() {
        assert_eq!(progress(0, 0), (0, 0));
        assert_eq!(progress(519, 1000), (50, 500));
        assert_eq!(progress(1000, 1000), (100, 1000));
        assert_eq!(progress(u64::MAX, u64::MAX), (100, u64::MAX));
        assert_eq!(eta(Duration::from_secs(61)).as_secs(), 90);
        assert_eq!(eta(Duration::from_secs(3)).as_secs(), 5);
        assert_eq!(eta(Duration::MAX).to_string(), "720h");
        let whole = 24 << 30;
        assert_eq!(free((10 << 30) + 5 * MIB, whole), 10 << 30);
        assert_eq!(stored(MIB, MIB, 64 * MIB), (MIB, MIB));
        assert_eq!(stored(MIB + 1, 3 * MIB - 1, 64 * MIB), (2 * MIB, 2 * MIB));
        assert_eq!(stored(u64::MAX, u64::MAX, 5 * MIB), (5 * MIB, 5 * MIB), "never more than there is");
        assert_eq!(used((10 << 30) + 5 * MIB, whole), (10 << 30) + 512 * MIB);
    }
}
