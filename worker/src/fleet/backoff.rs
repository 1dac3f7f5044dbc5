//! How long to wait before another try.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// After this many failures in a row (at least one): 1 s, doubling to a minute.
/// No jitter: each worker waits for its own causes.
pub fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    (FIRST * 2u32.pow(doublings)).min(LONGEST)
}

/// How long a model waits whose load ended the engine process this many times in
/// a row (at least one): 10 s, four times as long each time, up to an hour. Each
/// try takes everybody else on the device down with it.
pub fn hold_back(kills: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(3600);
    let times = kills.saturating_sub(1).min(5);
    (FIRST * 4u32.pow(times)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_minute() {
        let seconds: Vec<_> = (1..=8).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX), LONGEST);
        let seconds: Vec<_> = (1..=7).map(|n| hold_back(n).as_secs()).collect();
        assert_eq!(seconds, [10, 40, 160, 640, 2560, 3600, 3600]);
    }
}
