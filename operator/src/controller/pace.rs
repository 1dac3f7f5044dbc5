//! When rounds run, and when there are none any more.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::leader::Leadership;
use super::round::Outcome;
use super::run::ControllerError;
use super::trigger::Trigger;

/// After a trigger, others are waited for: one change seldom comes alone.
const GATHER: Duration = Duration::from_millis(50);
/// A round without any trigger: a safety net, and the time of corrections.
const RESYNC: Duration = Duration::from_secs(30);
/// After a round in which something failed.
const RETRY: Duration = Duration::from_secs(1);
/// However much happens, rounds are on the average no closer than this,
const PERIOD: Duration = Duration::from_millis(500);
/// but as many follow each other at once: a model that is brought up takes several.
const BURST: u32 = 8;
/// A round that is not over by then hangs. Whoever leads next may do better, and does
/// not come before this process lets go of the Lease.
const ROUND_WITHIN: Duration = Duration::from_secs(2 * 60);

/// What is done again and again.
pub(super) trait Reconcile {
    /// One round, under the leadership of `epoch`.
    async fn round(&mut self, epoch: u64) -> Outcome;

    /// Believes what is read again, over what was written.
    fn forget(&mut self);
}

/// Rounds, for as long as we lead.
///
/// # Errors
/// That we lead no more, or that a round hangs.
pub(super) async fn keep_going(
    rounds: &mut impl Reconcile,
    leadership: &Leadership,
    trigger: &Trigger,
) -> Result<(), ControllerError> {
    const ELECTION: ControllerError = ControllerError::Ended("the election");
    let mut epochs = leadership.watch();
    let mut resync = Instant::now() + RESYNC;
    let mut pace = Pace::new(Instant::now());
    loop {
        let epoch = *epochs.borrow_and_update();
        let Some(epoch) = epoch else { return Err(ControllerError::LeaseLost) };
        let began = Instant::now();
        pace.note(began);
        // A round that is under way when the Lease is lost is not finished.
        let outcome = tokio::select! {
            outcome = timeout(ROUND_WITHIN, rounds.round(epoch)) => {
                outcome.map_err(|_| ControllerError::Stuck(ROUND_WITHIN))?
            }
            changed = epochs.wait_for(|now| *now != Some(epoch)) => match changed {
                Ok(_) => continue,
                Err(_) => return Err(ELECTION),
            }
        };
        let now = Instant::now();
        let mut until = resync;
        if let Some(again) = outcome.again {
            until = until.min(Instant::from_std(again).max(now + GATHER));
        }
        if outcome.failed {
            until = until.min(now + RETRY);
        }
        tokio::select! {
            () = trigger.pulled() => sleep_until(pace.next().max(Instant::now() + GATHER)).await,
            () = sleep_until(until.max(pace.next())) => {}
            changed = epochs.changed() => changed.map_err(|_| ELECTION)?,
        }
        if Instant::now() >= resync {
            resync = Instant::now() + RESYNC;
            rounds.forget();
        }
    }
}

/// Lets [`BURST`] rounds through at once, and one in [`PERIOD`] in the long run.
struct Pace {
    /// When a whole burst would be let through again.
    rested: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { rested: now }
    }

    /// A round begins.
    fn note(&mut self, now: Instant) {
        self.rested = self.rested.max(now) + PERIOD;
    }

    /// When the next may.
    fn next(&self) -> Instant {
        const AHEAD: Duration = PERIOD.saturating_mul(BURST - 1);
        self.rested.checked_sub(AHEAD).unwrap_or(self.rested)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts rounds; with `hangs`, the one after so many never ends.
    #[derive(Clone, Default)]
    struct Counted {
        rounds: Arc<AtomicU32>,
        hangs: Option<u32>,
    }

    impl Counted {
        fn count(&self) -> u32 {
            self.rounds.load(Ordering::Relaxed)
        }
    }

    impl Reconcile for Counted {
        async fn round(&mut self, _: u64) -> Outcome {
            if self.hangs == Some(self.rounds.fetch_add(1, Ordering::Relaxed)) {
                std::future::pending::<()>().await;
            }
            Outcome { again: None, failed: false }
        }

        fn forget(&mut self) {}
    }

    const MOMENT: Duration = Duration::from_millis(60);

    #[tokio::test(start_paused = true)]
    async fn a_change_is_acted_on_at_once_and_a_storm_of_them_twice_a_second() {
        let (_epoch, leadership) = Leadership::scripted(Some(1));
        let (counted, trigger) = (Counted::default(), Trigger::default());
        let mut rounds = counted.clone();
        let pull = trigger.clone();
        tokio::spawn(async move { keep_going(&mut rounds, &leadership, &pull).await });
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(counted.count(), 1, "nothing happens");
        for n in 2..=5 {
            trigger.pull();
            tokio::time::sleep(MOMENT).await;
            assert_eq!(counted.count(), n, "one after the other, each at once");
        }
        let storm = tokio::spawn(async move {
            loop {
                trigger.pull();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        storm.abort();
        let most = 5 + BURST + 60 * 2;
        assert!((120..=most).contains(&counted.count()), "{} of at most {most}", counted.count());
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_hangs_ends_the_leadership() {
        let (_epoch, leadership) = Leadership::scripted(Some(1));
        let mut rounds = Counted { hangs: Some(1), ..Counted::default() };
        let trigger = Trigger::default();
        let outcome = timeout(ROUND_WITHIN * 2, keep_going(&mut rounds, &leadership, &trigger));
        let outcome = outcome.await.expect("it hangs as well");
        assert!(matches!(outcome, Err(ControllerError::Stuck(_))), "{outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_election_nobody_leads() {
        for hangs in [None, Some(0)] {
            let (epoch, leadership) = Leadership::scripted(Some(1));
            let mut rounds = Counted { hangs, ..Counted::default() };
            let counted = rounds.clone();
            drop(epoch);
            let outcome = keep_going(&mut rounds, &leadership, &Trigger::default()).await;
            assert!(matches!(outcome, Err(ControllerError::Ended("the election"))), "{outcome:?}");
            assert!(counted.count() <= 1, "it does not go round and round");
        }
        let (epoch, leadership) = Leadership::scripted(Some(1));
        epoch.send_replace(None);
        let outcome = keep_going(&mut Counted::default(), &leadership, &Trigger::default()).await;
        assert!(matches!(outcome, Err(ControllerError::LeaseLost)), "{outcome:?}");
    }
}
