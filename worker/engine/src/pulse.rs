//! Whether the device thread gets on: what it is at, for any other thread to read.
//!
//! A driver that hangs stops the device thread within a call, and with it everything that could say so.
//! Whoever looks from outside needs to know what the thread is at, and how long that may take.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// However small a step is, it may take this long: another process may have the machine for a while.
const AT_LEAST: Duration = Duration::from_secs(60);
/// Before any step has ended nothing is known of the device's speed. A piece of a prompt of a large model on a
/// processor takes minutes.
const UNKNOWN: Duration = Duration::from_secs(10 * 60);
/// A step may take this many times what its tokens took at the slowest so far: a longer context and a machine
/// that does something else cost a few times as much, a hang costs any number.
const TIMES: u32 = 20;
/// No step takes longer, whatever was measured.
const AT_MOST: Duration = Duration::from_secs(60 * 60);

/// What the device thread is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Steps that have ended; never less than before.
    pub steps: u64,
    /// The step under way, if there is one.
    pub under_way: Option<StepUnderWay>,
}

/// A step that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepUnderWay {
    /// Tokens that it computes, at the most.
    pub tokens: usize,
    /// How long it has been under way.
    pub for_now: Duration,
    /// How long it may be, by what earlier steps took.
    pub allowed: Duration,
}

impl Pulse {
    /// Whether the step under way takes so long that the device must be taken for hung.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.under_way.is_some_and(|step| step.for_now > step.allowed)
    }
}

/// Written by the device thread, before and after each step, and read by others. Never locked while the
/// device computes.
#[derive(Debug, Default)]
pub(crate) struct Heart(Mutex<Beat>);

#[derive(Debug, Default)]
struct Beat {
    steps: u64,
    under_way: Option<(usize, Instant)>,
    /// A token's time in the step where it was longest.
    slowest: Option<Duration>,
}

impl Heart {
    /// A step of this many tokens begins.
    pub(crate) fn begin(&self, tokens: usize, now: Instant) {
        self.beat().under_way = Some((tokens.max(1), now));
    }

    /// It has ended, however it did.
    pub(crate) fn end(&self, now: Instant) {
        let mut beat = self.beat();
        beat.steps += 1;
        let Some((tokens, since)) = beat.under_way.take() else { return };
        let each = now.saturating_duration_since(since) / u32::try_from(tokens).unwrap_or(u32::MAX);
        beat.slowest = beat.slowest.max(Some(each));
    }

    /// What it is at.
    pub(crate) fn pulse(&self, now: Instant) -> Pulse {
        let beat = self.beat();
        let under_way = beat.under_way.map(|(tokens, since)| StepUnderWay {
            tokens,
            for_now: now.saturating_duration_since(since),
            allowed: allowed(tokens, beat.slowest),
        });
        Pulse { steps: beat.steps, under_way }
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        // Each write is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn allowed(tokens: usize, slowest: Option<Duration>) -> Duration {
    let Some(slowest) = slowest else { return UNKNOWN };
    let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    slowest.saturating_mul(tokens).saturating_mul(TIMES).clamp(AT_LEAST, AT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_a_step_may_take_follows_what_its_tokens_took() {
        let (heart, start) = (Heart::default(), Instant::now());
        assert_eq!(heart.pulse(start), Pulse::default());
        heart.begin(256, start);
        let first = heart.pulse(start + UNKNOWN);
        assert!(!first.is_late() && heart.pulse(start + UNKNOWN + SECOND).is_late());
        heart.end(start + 64 * SECOND);
        assert_eq!(heart.pulse(start + 64 * SECOND), Pulse { steps: 1, under_way: None });
        // A quarter of a second a token: 20 times that for as many tokens, and the least for one.
        let allowed = |tokens| {
            heart.begin(tokens, start);
            let step = heart.pulse(start).under_way.unwrap();
            heart.end(start);
            step.allowed
        };
        assert_eq!(allowed(256), 20 * 64 * SECOND);
        assert_eq!(allowed(1), AT_LEAST);
        assert_eq!(allowed(usize::MAX), AT_MOST);
        assert_eq!(allowed(256), 20 * 64 * SECOND, "a fast step makes no later one late");
        assert_eq!(heart.pulse(start).steps, 5);
    }

    #[test]
    fn nothing_under_way_is_never_late() {
        let (heart, start) = (Heart::default(), Instant::now());
        heart.begin(1, start);
        heart.end(start);
        assert!(!heart.pulse(start + AT_MOST * 10).is_late());
    }
}
