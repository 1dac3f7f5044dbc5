//! Conditions: their types, their reasons, and how one is set.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Condition types of a ServedModel.
pub mod model {
    /// The spec makes sense and its served name is its own.
    pub const ACCEPTED: &str = "Accepted";
    /// The file was found and its header understood.
    pub const RESOLVED: &str = "Resolved";
    /// Every replica asked for has a device.
    pub const PLACED: &str = "Placed";
    /// At least one replica answers requests, and as many as were asked for.
    pub const READY: &str = "Ready";
}

/// Condition types of a Worker.
pub mod worker {
    /// Its process answers.
    pub const REACHABLE: &str = "Reachable";
    /// Its devices work.
    pub const HEALTHY: &str = "Healthy";
    /// Models may be placed on it.
    pub const OPEN: &str = "Open";
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// As it stands in `reason`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }

        impl From<$name> for &'static str {
            fn from(reason: $name) -> Self {
                reason.as_str()
            }
        }
    };
}

reasons! {
    /// Why a ServedModel's condition is as it is. Beside these, Resolved and Ready
    /// carry the word that the source (such as `SourceNotFound`) or the worker
    /// (such as `LoadTimeout`) gave for its failure.
    ModelReason {
        /// Accepted: nothing to object to.
        Valid,
        /// Accepted, but some fields have no effect yet: the message names them.
        PartlyWithoutEffect,
        /// Not accepted: a field is wrong.
        InvalidSpec,
        /// Not accepted: an older model has the served name.
        NameTaken,
        /// The file's header is being read.
        Resolving,
        /// The header was read.
        HeaderRead,
        /// The source's scheme is not fetched from yet.
        SourceNotServed,
        /// The Secret is missing, or lacks the label or key.
        CredentialsUnavailable,
        /// The context asked for is not within the model's own.
        ContextOutOfRange,
        /// Every replica has a device.
        EveryReplica,
        /// Some replicas have a device.
        SomeReplicas,
        /// No device has room, or may be used.
        NoCandidate,
        /// A machine must start before its memory is known.
        Measuring,
        /// Requests are answered.
        Serving,
        /// The machine starts.
        WorkerStarting,
        /// The file is on the way.
        Fetching,
        /// The weights go to the device.
        Loading,
        /// A load failed, and the worker gave no word for it.
        LoadFailed,
        /// The digest is not the one asked for.
        DigestMismatch,
        /// A worker stopped answering.
        WorkerGone,
        /// No replicas are asked for.
        ScaledToZero,
        /// Waits for an earlier condition.
        Waiting,
    }
}

reasons! {
    /// Why a Worker's condition is as it is.
    WorkerReason {
        /// Its process answers.
        Answering,
        /// Its process starts.
        Starting,
        /// No process runs, on purpose.
        Parked,
        /// Its process stopped answering.
        NoAnswer,
        /// It finishes what it has.
        Draining,
        /// Its GPUs are requested by other Pods.
        GpusTaken,
        /// The scheduler found no place for its Pod.
        Unschedulable,
        /// Its Pod fails to start.
        StartFailed,
        /// Its node is gone from the cluster.
        NodeGone,
        /// Every device works.
        DevicesWork,
        /// A device does not work.
        DeviceFailed,
        /// Nothing was measured yet.
        NotMeasured,
        /// Models may be placed.
        InService,
        /// Models may be placed, but some fields have no effect yet: the message names them.
        PartlyWithoutEffect,
        /// `spec.closed` is set.
        ClosedByAdministrator,
        /// A field of the spec is wrong.
        InvalidSpec,
    }
}

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl Status {
    /// As it stands in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What a condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// One of the types in [`model`] or [`worker`].
    pub type_: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// One CamelCase word: a [`ModelReason`], [`WorkerReason`], or one that a source or
    /// a worker told.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Update {
    /// An update with one of our own reasons.
    pub fn new(
        type_: &'static str,
        status: impl Into<Status>,
        reason: impl Into<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, status: status.into(), reason: reason.into().to_owned(), message: message.into() }
    }
}

/// The API server refuses longer messages.
const MESSAGE_MAX: usize = 32768;

/// Sets a condition and says whether anything changed. `lastTransitionTime`
/// stays as it was unless the status differs, so that an unchanged condition is
/// byte for byte what it was.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    update: Update,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let Update { type_, status, reason, mut message } = update;
    message.truncate(message.floor_char_boundary(MESSAGE_MAX));
    let before = conditions.iter().position(|c| c.type_ == type_);
    let last_transition_time = match before.map(|at| &conditions[at]) {
        Some(old) if old.status == status.as_str() => old.last_transition_time.clone(),
        _ => Time(now),
    };
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.as_str().to_owned(),
        reason,
        message,
        observed_generation,
        last_transition_time,
    };
    match before {
        Some(at) if conditions[at] == condition => false,
        Some(at) => {
            conditions[at] = condition;
            true
        }
        None => {
            conditions.push(condition);
            true
        }
    }
}

/// The condition of a type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether a condition is there and True.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == Status::True.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn ready(status: bool, message: &str) -> Update {
        let reason = if status { ModelReason::Serving } else { ModelReason::Loading };
        Update::new(model::READY, status, reason, message)
    }

    #[test]
    fn keeps_the_time_while_the_status_stays() {
        let mut conditions = Vec::new();
        assert!(set_condition(&mut conditions, ready(false, "1 of 4 GiB"), Some(1), at(10)));
        assert!(set_condition(&mut conditions, ready(false, "2 of 4 GiB"), Some(1), at(20)));
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert!(set_condition(&mut conditions, ready(true, "serves"), Some(2), at(30)));
        assert_eq!(conditions[0].last_transition_time, Time(at(30)));
        assert!(is_true(&conditions, model::READY));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn an_equal_update_changes_nothing() {
        let mut conditions = Vec::new();
        set_condition(&mut conditions, ready(true, "serves"), Some(1), at(10));
        let before = conditions.clone();
        assert!(!set_condition(&mut conditions, ready(true, "serves"), Some(1), at(99)));
        assert_eq!(conditions, before);
        assert!(set_condition(&mut conditions, ready(true, "serves"), Some(2), at(99)));
    }

    #[test]
    fn cuts_a_message_between_characters() {
        let mut conditions = Vec::new();
        set_condition(&mut conditions, ready(true, &"é".repeat(MESSAGE_MAX)), None, at(0));
        assert_eq!(conditions[0].message.len(), MESSAGE_MAX);
        set_condition(&mut conditions, ready(true, &format!("a{}", "é".repeat(MESSAGE_MAX))), None, at(0));
        assert_eq!(conditions[0].message.len(), MESSAGE_MAX - 1);
    }

    #[test]
    fn reasons_are_words_that_the_api_server_takes() {
        assert_eq!(ModelReason::PartlyWithoutEffect.as_str(), "PartlyWithoutEffect");
        assert_eq!(WorkerReason::GpusTaken.as_str(), "GpusTaken");
    }
}
