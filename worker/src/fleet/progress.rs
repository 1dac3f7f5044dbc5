//! How far a step is, and when it may be done.

use std::time::{Duration, Instant};

/// Before that, a rate says nothing.
const EARLIEST_ETA: Duration = Duration::from_secs(1);

/// Bytes (or steps) done of a total, with the rate since the first report.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Done by now.
    pub done: u64,
    /// To do; 0 if not known.
    pub total: u64,
    /// The first report: what a resumed download starts with was not done at
    /// today's rate.
    first: Option<(Instant, u64)>,
}

impl Progress {
    /// Nothing done yet of so much.
    pub fn of(total: u64) -> Self {
        Self { total, ..Self::default() }
    }

    /// Takes a report.
    pub fn report(&mut self, now: Instant, done: u64, total: u64) {
        self.first.get_or_insert((now, done));
        self.done = done;
        self.total = total;
    }

    /// Time left at the rate so far, in whole seconds.
    pub fn eta(&self, now: Instant) -> Option<Duration> {
        let (since, at_first) = self.first?;
        let elapsed = now.saturating_duration_since(since);
        let gained = self.done.checked_sub(at_first)?;
        if elapsed < EARLIEST_ETA || gained == 0 || self.total == 0 {
            return None;
        }
        let left = self.total.saturating_sub(self.done) as f64;
        let seconds = left / (gained as f64 / elapsed.as_secs_f64());
        // A year is as good as never, and keeps the conversion in range.
        (seconds < 31_536_000.0).then(|| Duration::from_secs(seconds.ceil() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_download_counts_only_what_is_new() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut progress = Progress::default();
        assert_eq!(progress.eta(start), None);
        progress.report(at(0), 900, 1000);
        assert_eq!(progress.eta(at(0)), None);
        progress.report(at(2), 920, 1000);
        assert_eq!(progress.eta(at(2)), Some(Duration::from_secs(8)));
        progress.report(at(3), 1000, 1000);
        assert_eq!(progress.eta(at(3)), Some(Duration::ZERO));
    }

    #[test]
    fn nothing_is_promised_without_a_total_or_a_rate() {
        let start = Instant::now();
        let mut progress = Progress::default();
        progress.report(start, 10, 0);
        assert_eq!(progress.eta(start + Duration::from_secs(5)), None);
        progress.report(start, 10, 100);
        assert_eq!(progress.eta(start + Duration::from_secs(5)), None);
    }
}
