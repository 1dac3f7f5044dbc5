//! Who leads: client-go's rule, as a state machine without a clock or a client.
//!
//! A Lease says who holds it, but the times in it are never compared with our
//! clock: what counts is how long ago *we* first saw the Lease as it is now.
//! Every write carries the resourceVersion of what it is based on, so of two
//! candidates one loses.

use std::time::{Duration, Instant};

/// How long others wait for a holder, how long a holder tries, how often.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A Lease that did not change for this long is free.
    pub lease: Duration,
    /// A holder that could not renew for this long stops leading. Shorter than
    /// `lease`, so that it stops before another starts.
    pub renew_deadline: Duration,
    /// Between two tries.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The Lease as it was read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Who holds it; `None` after it was given back.
    pub holder: Option<String>,
    /// Grows with each change of holder, in the same write.
    pub epoch: u64,
    /// How often the holder changed.
    pub transitions: i32,
    /// The version a write must be based on.
    pub resource_version: String,
}

/// What to write into the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// The version that the write replaces; `None`: the Lease must not exist.
    pub replaces: Option<String>,
    /// Whether the holder changes: then the time of acquisition is set anew.
    pub acquires: bool,
    /// The epoch to write.
    pub epoch: u64,
    /// The count of transitions to write.
    pub transitions: i32,
}

/// The state of one candidate.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    timing: Timing,
    seen: Option<(Option<Record>, Instant)>,
    held: Option<Held>,
    at_least: u64,
    /// The greatest epoch that the Lease was seen with.
    known: u64,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: u64,
    renewed: Instant,
}

impl Election {
    /// A candidate that has seen nothing yet.
    pub(super) fn new(identity: impl Into<String>, timing: Timing) -> Self {
        Self { identity: identity.into(), timing, seen: None, held: None, at_least: 0, known: 0 }
    }

    /// The Lease was read. `None`: there is none.
    pub(super) fn saw(&mut self, record: Option<Record>, now: Instant) {
        if let Some(held) = self.held
            && record
                .as_ref()
                .is_none_or(|r| r.holder.as_deref() != Some(&self.identity) || r.epoch != held.epoch)
        {
            self.held = None;
        }
        self.knows(record.as_ref());
        match &self.seen {
            Some((before, _)) if *before == record => {}
            _ => self.seen = Some((record, now)),
        }
    }

    /// A claim was written and this is the Lease now. `started`: when the
    /// write began, for that is when the others' waiting may begin at the
    /// earliest.
    pub(super) fn wrote(&mut self, record: Record, started: Instant) {
        self.held = Some(Held { epoch: record.epoch, renewed: started });
        self.knows(Some(&record));
        self.seen = Some((Some(record), started));
    }

    /// Epochs never begin anew while anybody remembers one: the Lease may be
    /// deleted, but not what was ordered under it.
    fn knows(&mut self, record: Option<&Record>) {
        self.known = self.known.max(record.map_or(0, |record| record.epoch));
    }

    /// A worker knows an epoch of `epoch`: ours must be greater, which it is
    /// not after a Lease was deleted by hand.
    pub(super) fn outbid(&mut self, epoch: u64) {
        self.at_least = self.at_least.max(epoch.saturating_add(1));
    }

    /// What to write now; `None` while another holds the Lease, or before it was read.
    pub(super) fn claim(&self, now: Instant) -> Option<Claim> {
        let (record, since) = self.seen.as_ref()?;
        let Some(record) = record else {
            return Some(Claim {
                replaces: None,
                acquires: true,
                epoch: self.known.saturating_add(1).max(self.at_least),
                transitions: 0,
            });
        };
        let replaces = Some(record.resource_version.clone());
        if let Some(held) = self.held {
            let epoch = held.epoch.max(self.at_least);
            return Some(Claim { replaces, acquires: false, epoch, transitions: record.transitions });
        }
        // A Lease that names us while we do not hold it is from before this
        // process: its holder is gone, but what it told the workers is not.
        let free = match record.holder.as_deref() {
            None => true,
            Some(holder) if holder == self.identity => true,
            Some(_) => now.saturating_duration_since(*since) >= self.timing.lease,
        };
        free.then(|| Claim {
            replaces,
            acquires: true,
            epoch: self.known.saturating_add(1).max(self.at_least),
            transitions: record.transitions.saturating_add(1),
        })
    }

    /// The epoch in which we lead; `None` if we do not, or could not renew for
    /// too long.
    pub(super) fn leads(&self, now: Instant) -> Option<u64> {
        self.held
            .filter(|held| now.saturating_duration_since(held.renewed) < self.timing.renew_deadline)
            .map(|held| held.epoch)
    }

    /// The version to give back, if we hold the Lease.
    pub(super) fn release(&self) -> Option<Record> {
        self.held?;
        let record = self.seen.as_ref()?.0.clone()?;
        Some(Record { holder: None, ..record })
    }

    /// The waits between tries.
    pub(super) fn timing(&self) -> Timing {
        self.timing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, epoch: u64, version: u64) -> Record {
        Record {
            holder: holder.map(str::to_owned),
            epoch,
            transitions: 3,
            resource_version: version.to_string(),
        }
    }

    fn candidate() -> Election {
        Election::new("me", Timing::default())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_claimed_before_the_lease_was_read() {
        assert_eq!(candidate().claim(Instant::now()), None);
    }

    #[test]
    fn the_first_leader_creates_the_lease_with_epoch_one() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(None, now);
        let claim = me.claim(now).unwrap();
        assert_eq!(claim, Claim { replaces: None, acquires: true, epoch: 1, transitions: 0 });
        me.wrote(lease(Some("me"), 1, 1), now);
        assert_eq!(me.leads(now), Some(1));
    }

    #[test]
    fn a_held_lease_is_left_alone_until_it_did_not_change_for_its_duration() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(Some(lease(Some("other"), 7, 1)), now);
        assert_eq!(me.claim(now + 14 * SECOND), None);
        me.saw(Some(lease(Some("other"), 7, 2)), now + 14 * SECOND);
        assert_eq!(me.claim(now + 20 * SECOND), None, "a renewal starts the wait anew");
        me.saw(Some(lease(Some("other"), 7, 2)), now + 20 * SECOND);
        let claim = me.claim(now + 29 * SECOND).unwrap();
        assert_eq!((claim.epoch, claim.transitions, claim.acquires), (8, 4, true));
        assert_eq!(claim.replaces.as_deref(), Some("2"), "based on what was seen");
    }

    #[test]
    fn a_lease_given_back_is_taken_at_once_with_a_greater_epoch() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(Some(lease(None, 7, 1)), now);
        assert_eq!(me.claim(now).unwrap().epoch, 8);
    }

    #[test]
    fn a_restarted_process_takes_its_own_lease_at_once_in_a_new_epoch() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(Some(lease(Some("me"), 7, 1)), now);
        let claim = me.claim(now).unwrap();
        assert_eq!((claim.epoch, claim.acquires), (8, true));
    }

    #[test]
    fn renewing_keeps_the_epoch() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(None, now);
        me.wrote(lease(Some("me"), 1, 1), now);
        let claim = me.claim(now + 2 * SECOND).unwrap();
        assert_eq!((claim.epoch, claim.acquires), (1, false));
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_before_another_may_start() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(None, now);
        me.wrote(lease(Some("me"), 1, 1), now);
        assert_eq!(me.leads(now + 9 * SECOND), Some(1));
        assert_eq!(me.leads(now + 10 * SECOND), None);
    }

    #[test]
    fn a_leader_that_reads_another_holder_stops() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(None, now);
        me.wrote(lease(Some("me"), 1, 1), now);
        me.saw(Some(lease(Some("other"), 2, 2)), now + SECOND);
        assert_eq!(me.leads(now + SECOND), None);
        assert_eq!(me.claim(now + SECOND), None);
    }

    #[test]
    fn an_epoch_that_a_worker_knows_is_outbid() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(None, now);
        me.wrote(lease(Some("me"), 1, 1), now);
        me.outbid(41);
        assert_eq!(me.claim(now).unwrap().epoch, 42);
    }

    #[test]
    fn an_epoch_outlives_its_lease() {
        let now = Instant::now();
        let mut me = candidate();
        me.saw(Some(lease(None, 7, 1)), now);
        me.wrote(lease(Some("me"), 8, 2), now);
        me.saw(None, now);
        assert_eq!(me.leads(now), None, "somebody else may have taken it since");
        assert_eq!(me.claim(now).unwrap().epoch, 9);
        me.saw(Some(lease(None, 1, 3)), now);
        assert_eq!(me.claim(now).unwrap().epoch, 9);
    }

    #[test]
    fn a_jumping_clock_changes_nothing_because_no_time_of_the_lease_is_read() {
        // `Record` has no times at all: this test is the compiler's.
        let Record { holder: _, epoch: _, transitions: _, resource_version: _ } = lease(None, 1, 1);
    }

    #[test]
    fn giving_back_keeps_the_epoch_for_the_next_leader() {
        let now = Instant::now();
        let mut me = candidate();
        assert!(me.release().is_none());
        me.saw(None, now);
        me.wrote(lease(Some("me"), 5, 9), now);
        let given = me.release().unwrap();
        assert_eq!((given.holder, given.epoch, given.resource_version.as_str()), (None, 5, "9"));
    }
}
