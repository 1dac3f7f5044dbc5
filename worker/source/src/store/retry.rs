//! How patient a fetch is.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Waits between tries: doubling from `first` to `longest`, with jitter. A try
/// that brought bytes starts the count anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first wait.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// Retries in a row that bring nothing, before it is given up.
    pub times: usize,
}

impl Default for Retry {
    /// About a minute and a half without a byte.
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(30), times: 8 }
    }
}

impl Retry {
    pub(super) fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_max_times(self.times)
            .with_jitter()
            .build()
    }
}
