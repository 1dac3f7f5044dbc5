//! Rejections by reason, as a status tells them.

use serde::Serialize;

use super::{Candidate, Rejection};

/// Candidates that were not taken for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// One CamelCase word.
    pub reason: &'static str,
    /// How many candidates.
    pub count: u32,
    /// The candidate that came nearest.
    pub best: Candidate,
    /// What was missing there.
    pub message: String,
}

/// As many groups as a status tells.
const GROUPS: usize = 8;

/// Rejections by reason, at most eight groups: if there are more, the last is
/// `Other` and stands for the rest.
#[must_use]
pub fn group(rejections: &[Rejection]) -> Vec<Group> {
    let mut sorted: Vec<&Rejection> = rejections.iter().collect();
    sorted.sort_by_key(|r| (r.reason.order(), r.reason.distance(), &r.candidate));
    let mut groups: Vec<Group> = sorted
        .chunk_by(|a, b| a.reason.order() == b.reason.order())
        .map(|same| Group {
            reason: same[0].reason.name(),
            count: u32::try_from(same.len()).unwrap_or(u32::MAX),
            best: same[0].candidate.clone(),
            message: same[0].to_string(),
        })
        .collect();
    if groups.len() > GROUPS {
        let rest = groups.split_off(GROUPS - 1);
        let names: Vec<&str> = rest.iter().map(|g| g.reason).collect();
        let message = format!("{}; the first: {}", names.join(", "), rest[0].message);
        let count = rest.iter().map(|g| g.count).sum();
        groups.push(Group { reason: "Other", count, best: rest[0].best.clone(), message });
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::super::Reason;
    use super::super::tests::{at, short_of};
    use super::*;

    #[test]
    fn the_nearest_of_a_group_speaks_for_it() {
        let groups = group(&[
            at("attic", Reason::WorkerClosed),
            short_of("a", 50),
            short_of("b", 152),
            short_of("c", 10),
        ]);
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (groups[0].reason, groups[0].count, groups[0].best.worker.as_str()),
            ("InsufficientMemory", 3, "b")
        );
        assert_eq!((groups[1].reason, groups[1].count), ("WorkerClosed", 1));
    }

    #[test]
    fn never_more_than_eight_groups() {
        let all = [
            Reason::NotMeasured,
            Reason::WorkerGone,
            Reason::WorkerDraining,
            Reason::WorkerClosed,
            Reason::NoDevice,
            Reason::JoinedDenied,
            Reason::HasReplica,
            Reason::DeviceFailed { message: "Xid 79".to_owned() },
            Reason::StoreFull { needs: 2, free: 1 },
            Reason::Unresolved { why: "404".to_owned() },
        ];
        let rejections: Vec<Rejection> = all.into_iter().map(|reason| at("box", reason)).collect();
        let groups = group(&rejections);
        assert_eq!(groups.len(), 8);
        assert_eq!((groups[7].reason, groups[7].count), ("Other", 3));
        assert_eq!(groups.iter().map(|g| g.count).sum::<u32>(), 10);
        assert!(group(&[]).is_empty());
    }
}
