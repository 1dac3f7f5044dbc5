//! The memory that headers take while they are read, all of them together.

use std::sync::Arc;

use hearth_model::gguf::MAX_HEADER_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted. A header that is smaller counts as one of these.
const UNIT_BYTES: u64 = 1 << 20;
/// One header of the largest size, or many as they are. What is parsed of one takes
/// up to eight times its bytes, as strings of one byte each do.
const UNITS: u32 = (MAX_HEADER_BYTES / UNIT_BYTES) as u32;

/// Bytes of headers that may be in memory at the same time, whoever's they are.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
    units: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNITS as usize)))
    }
}

impl Budget {
    /// Room for `bytes`, once it is there. Those who came first get it first.
    pub(crate) async fn take(&self, bytes: u64) -> Share {
        let units = units(bytes);
        // The semaphore is never closed.
        let permit = self.0.clone().acquire_many_owned(units).await.ok();
        Share { budget: self.clone(), permit, units }
    }
}

impl Share {
    /// Takes room for `bytes` in all, if it is there.
    pub(crate) fn fits(&mut self, bytes: u64) -> bool {
        let wanted = units(bytes);
        let more = wanted.saturating_sub(self.units);
        let Ok(more) = self.budget.0.clone().try_acquire_many_owned(more) else { return false };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        self.units = self.units.max(wanted);
        true
    }

    /// Gives the room back and takes room for `bytes`, once it is there. What was kept
    /// in it must be gone: who waits holds nothing, or two could wait for each other.
    pub(crate) async fn exchange(self, bytes: u64) -> Self {
        let budget = self.budget.clone();
        drop(self);
        budget.take(bytes).await
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(UNITS).clamp(1, UNITS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn what_is_held_is_given_back_and_the_whole_can_be_had() {
        let budget = Budget::default();
        let first = budget.take(1).await;
        let waits = timeout(Duration::from_millis(20), budget.take(MAX_HEADER_BYTES)).await;
        assert!(waits.is_err(), "one unit is taken");
        drop(first);
        let mut whole = budget.take(u64::MAX).await;
        assert!(whole.fits(u64::MAX), "there is no more");
    }

    #[tokio::test]
    async fn who_waits_for_more_holds_nothing() {
        let budget = Budget::default();
        let half = MAX_HEADER_BYTES / 2;
        let (mut a, mut b) = (budget.take(half).await, budget.take(half - MIB).await);
        assert!(b.fits(half), "there is room");
        assert!(!a.fits(half + MIB) && !b.fits(half + MIB));
        let (a, b) = (a.exchange(half + MIB), b.exchange(half + MIB));
        let one_after_the_other = async { tokio::join!(async { drop(a.await) }, async { drop(b.await) }) };
        timeout(Duration::from_secs(5), one_after_the_other).await.expect("they wait for each other");
    }
}
