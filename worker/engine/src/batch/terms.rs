//! What a batcher is told, and what it says of the device.

use std::sync::Arc;
use std::time::Duration;

use hearth_sample::Picker;

use crate::api::{Cancelled, Outlet, Stop};

/// Requests that may wait for a place. Whoever comes after them is better served
/// by another replica.
pub const MAX_WAITING: usize = 64;

/// What a step says of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Sound,
    /// Nothing that is asked of it will succeed: a context that saw a fault stays
    /// spoilt until its process ends.
    Broken,
}

/// Where time comes from.
pub(crate) trait Clock {
    /// Time since some moment, never less than before.
    fn now(&self) -> Duration;
}

/// A request whose prompt has been checked and tokenized.
pub(crate) struct Job {
    /// Shorter than the context.
    pub(crate) prompt: Vec<u32>,
    /// Requests of different salts share no pages.
    pub(crate) salt: Arc<str>,
    /// Guesses that a step may check at the most; 0 guesses nothing.
    pub(crate) guesses: usize,
    pub(crate) picker: Picker,
    pub(crate) stop: Stop,
    pub(crate) outlet: Outlet,
    pub(crate) cancelled: Cancelled,
}

/// How much runs at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Sequences that run at the same time. More than have their whole context
    /// reserved may be set aside for each other.
    pub(crate) places: usize,
    /// How long a step should take at the most, if others wait for its tokens and do not
    /// take longer themselves.
    pub(crate) step: Duration,
    /// How many times as long as without prompts a step may take beside them.
    pub(crate) pace: f64,
}

impl Limits {
    /// As many sequences as a replica reserves contexts for, and steps of a tenth of
    /// a second: a reader does not notice a gap of that length. However many prompts
    /// come, steps take four times as long as without them at the most: with less, few
    /// are ever read, so that few decode at a time, and both take longer.
    pub(crate) fn of(sequences: u32) -> Self {
        Self { places: sequences as usize, step: Duration::from_millis(100), pace: 4.0 }
    }
}
