//! Events: what a person would want to read in `kubectl describe`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::bound;

/// An Event that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether it is bad news.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: String,
    /// What was being done: the condition's type.
    pub action: String,
    /// A sentence.
    pub message: String,
}

/// Longest note that the API server takes.
const LONGEST: usize = 1024;

/// One Event for every condition that came to say something else. A message
/// that changed under the same reason is not news.
pub fn notes(before: &[Condition], after: &[Condition]) -> Vec<Note> {
    let changed = |condition: &&Condition| {
        let old = before.iter().find(|old| old.type_ == condition.type_);
        old.is_none_or(|old| old.status != condition.status || old.reason != condition.reason)
    };
    let is_news = |condition: &&Condition| {
        condition.status != "Unknown" && !matches!(condition.reason.as_str(), "Valid" | "Waiting")
    };
    after.iter().filter(changed).filter(is_news).map(note).collect()
}

fn note(condition: &Condition) -> Note {
    let mut message = condition.message.clone();
    bound::text(&mut message, LONGEST);
    Note {
        warning: condition.status == "False" && !is_on_the_way(&condition.reason),
        reason: condition.reason.clone(),
        action: condition.type_.clone(),
        message,
    }
}

/// Reasons that say that something goes as it should, and is not there yet.
fn is_on_the_way(reason: &str) -> bool {
    matches!(
        reason,
        "Waiting"
            | "Resolving"
            | "Measuring"
            | "WorkerStarting"
            | "Fetching"
            | "Loading"
            | "ScaledToZero"
            | "Starting"
            | "Parked"
            | "Draining"
            | "ClosedByAdministrator"
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn condition(status: &str, reason: &str, message: &str) -> Condition {
        Condition {
            type_: "Placed".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    #[test]
    fn only_news_is_told() {
        let before = [condition("False", "NoCandidate", "1 GiB is missing")];
        assert!(notes(&before, &[condition("False", "NoCandidate", "2 GiB are missing")]).is_empty());
        let after = notes(&before, &[condition("True", "EveryReplica", "on box")]);
        assert_eq!((after.len(), after[0].warning, after[0].reason.as_str()), (1, false, "EveryReplica"));
        let first = notes(&[], &before);
        assert!(first[0].warning);
        assert!(notes(&[], &[condition("Unknown", "Waiting", "")]).is_empty());
    }
}
