//! Why a candidate was not taken, and how that is told.

use std::fmt;

use hearth_model::Footprint;
use serde::Serialize;

use crate::{
    ModelKey,
    bytes::{gib, human_pair, thousands},
    observed::Worker,
    slots::Slot,
};

/// A device, or a machine whose devices are not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Candidate {
    /// The Worker.
    pub worker: String,
    /// UUID of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

impl Candidate {
    pub(crate) fn worker(worker: &Worker) -> Self {
        Self { worker: worker.name.clone(), device: None }
    }

    pub(crate) fn slot(slot: &Slot<'_>) -> Self {
        Self { worker: slot.worker.name.clone(), device: Some(slot.device.uuid.clone()) }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            Some(device) => write!(f, "{} {device}", self.worker),
            None => f.write_str(&self.worker),
        }
    }
}

/// A candidate that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Which.
    pub candidate: Candidate,
    /// Why.
    pub reason: Reason,
}

/// Why a candidate was not taken. In the order in which groups are told: what a
/// person can do most about comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// The model needs more than what is left.
    InsufficientMemory {
        /// With the smallest context.
        needs: Footprint,
        /// The smallest context, in tokens.
        context: u32,
        /// Sequences whose KV cache is reserved.
        sequences: u32,
        /// Bytes of the device.
        total: u64,
        /// Bytes in use by processes that are not ours.
        used_by_others: u64,
        /// Bytes to be left to others.
        reserve: u64,
        /// Our replicas there, largest first.
        held: Vec<Held>,
        /// What a new replica could have: the rest.
        available: u64,
    },
    /// Other Pods have requested the machine's GPUs.
    GpusTaken {
        /// How many the worker Pod would request.
        wanted: u32,
        /// How many are left.
        free: u32,
        /// The Pods that have them.
        holders: Vec<String>,
    },
    /// The machine's process can't start.
    CannotStart {
        /// One CamelCase word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// The machine must run once before its memory is known.
    NotMeasured,
    /// It would fit, but a faster machine is being measured first.
    AwaitsMeasurement {
        /// The faster machines.
        workers: Vec<String>,
    },
    /// The file does not fit the machine's store.
    StoreFull {
        /// Bytes of the file.
        needs: u64,
        /// Bytes left.
        free: u64,
    },
    /// The model's file can't be loaded there, and is tried elsewhere.
    LoadFailed {
        /// What was told.
        message: String,
    },
    /// The device does not work.
    DeviceFailed {
        /// What is wrong.
        message: String,
    },
    /// The machine does not answer.
    WorkerGone,
    /// The machine's process is about to exit.
    WorkerDraining,
    /// The administrator closed the machine.
    WorkerClosed,
    /// The machine has no device.
    NoDevice,
    /// The model's `placement.devices` names others.
    DeviceExcluded {
        /// What it names.
        wanted: Vec<String>,
    },
    /// The model's `placement.workerSelector` selects others.
    SelectorMismatch {
        /// The selector.
        selector: String,
    },
    /// The model does not want machines outside the cluster.
    JoinedDenied,
    /// The machine does not take models of this namespace.
    NamespaceNotAllowed {
        /// The model's namespace.
        namespace: String,
    },
    /// The model's memory can't be known.
    Unresolved {
        /// Why.
        why: String,
    },
    /// Another replica of the model is there.
    HasReplica,
    /// All replicas have a place already.
    NotNeeded {
        /// The slowest place that was taken.
        taken: Candidate,
        /// Its GB/s.
        taken_bandwidth: u32,
        /// This candidate's GB/s.
        bandwidth: u32,
    },
}

/// What one of our models has of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The model.
    pub model: ModelKey,
    /// Bytes reserved for it.
    pub bytes: u64,
}

impl Reason {
    /// One CamelCase word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.entry().1
    }

    const fn order(&self) -> u8 {
        self.entry().0
    }

    const fn entry(&self) -> (u8, &'static str) {
        match self {
            Self::InsufficientMemory { .. } => (0, "InsufficientMemory"),
            Self::GpusTaken { .. } => (1, "GpusTaken"),
            Self::CannotStart { .. } => (2, "CannotStart"),
            Self::NotMeasured => (3, "NotMeasured"),
            Self::AwaitsMeasurement { .. } => (4, "AwaitsMeasurement"),
            Self::StoreFull { .. } => (5, "StoreFull"),
            Self::LoadFailed { .. } => (6, "LoadFailed"),
            Self::DeviceFailed { .. } => (7, "DeviceFailed"),
            Self::WorkerGone => (8, "WorkerGone"),
            Self::WorkerDraining => (9, "WorkerDraining"),
            Self::WorkerClosed => (10, "WorkerClosed"),
            Self::NoDevice => (11, "NoDevice"),
            Self::DeviceExcluded { .. } => (12, "DeviceExcluded"),
            Self::SelectorMismatch { .. } => (13, "SelectorMismatch"),
            Self::JoinedDenied => (14, "JoinedDenied"),
            Self::NamespaceNotAllowed { .. } => (15, "NamespaceNotAllowed"),
            Self::Unresolved { .. } => (16, "Unresolved"),
            Self::HasReplica => (17, "HasReplica"),
            Self::NotNeeded { .. } => (18, "NotNeeded"),
        }
    }

    /// How far a candidate is from fitting: the smallest of a group is its best.
    fn distance(&self) -> u64 {
        match self {
            Self::InsufficientMemory { needs, available, .. } => needs.total().saturating_sub(*available),
            Self::GpusTaken { wanted, free, .. } => u64::from(wanted.saturating_sub(*free)),
            Self::StoreFull { needs, free } => needs.saturating_sub(*free),
            _ => 0,
        }
    }
}

/// A sentence with the numbers: what was missing at this candidate.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { worker, device } = &self.candidate;
        let device = device.as_deref().unwrap_or("a device");
        match &self.reason {
            Reason::InsufficientMemory {
                needs,
                context,
                sequences,
                total,
                used_by_others,
                reserve,
                held,
                available,
            } => {
                let Footprint { weights, kv, activations, overhead } = needs;
                write!(
                    f,
                    "needs {} GiB: weights {}, KV {} at {} × {sequences}, activations {}, overhead {}; {worker}: {} free on {device}",
                    gib(needs.total()),
                    gib(*weights),
                    gib(*kv),
                    thousands(*context),
                    gib(*activations),
                    gib(*overhead),
                    human_pair(*available, *total),
                )?;
                for Held { model, bytes } in held.iter().take(3) {
                    write!(f, ", {} held by {model}", gib(*bytes))?;
                }
                if let Some(rest @ [_, ..]) = held.get(3..) {
                    let bytes = rest.iter().map(|h| h.bytes).sum();
                    write!(f, ", {} by {} more", gib(bytes), rest.len())?;
                }
                if *used_by_others > 0 {
                    write!(f, ", {} used by others", gib(*used_by_others))?;
                }
                if *reserve > 0 {
                    write!(f, ", {} reserved for others", gib(*reserve))?;
                }
                Ok(())
            }
            Reason::GpusTaken { wanted, free, holders } => {
                write!(f, "{worker}: the worker Pod requests {wanted} GPU(s), {free} are left")?;
                if !holders.is_empty() {
                    let more = holders.len().saturating_sub(3);
                    let names: Vec<&str> = holders.iter().take(3).map(String::as_str).collect();
                    write!(f, "; held by {}", names.join(", "))?;
                    if more > 0 {
                        write!(f, " and {more} more")?;
                    }
                }
                write!(f, "; it is served when they end")
            }
            Reason::CannotStart { reason, message } => {
                write!(f, "{worker} can't start ({reason}): {message}")
            }
            Reason::NotMeasured => {
                write!(f, "{worker} must run once before its memory is known; it is being started")
            }
            Reason::AwaitsMeasurement { workers } => {
                write!(
                    f,
                    "{worker}: fits on {device}, but {} may be faster and is measured first",
                    workers.join(", ")
                )
            }
            Reason::StoreFull { needs, free } => {
                write!(
                    f,
                    "{worker}: the file takes {} GiB, its store has {} GiB left; enlarge spec.store.size",
                    gib(*needs),
                    gib(*free)
                )
            }
            Reason::LoadFailed { message } => {
                write!(f, "{worker}: the file can't be loaded on {device}: {message}")
            }
            Reason::DeviceFailed { message } => write!(f, "{worker}: {device} does not work: {message}"),
            Reason::WorkerGone => write!(f, "{worker} does not answer"),
            Reason::WorkerDraining => write!(f, "{worker} finishes what it has and will exit"),
            Reason::WorkerClosed => write!(f, "{worker} is closed by its administrator (spec.closed)"),
            Reason::NoDevice => write!(f, "{worker} has no device that an engine runs on"),
            Reason::DeviceExcluded { wanted } => {
                write!(f, "{worker}: {device} is not among spec.placement.devices: {}", wanted.join(", "))
            }
            Reason::SelectorMismatch { selector } => {
                write!(f, "{worker} does not match spec.placement.workerSelector: {selector}")
            }
            Reason::JoinedDenied => {
                write!(f, "{worker} is outside the cluster and spec.placement.joined is Deny")
            }
            Reason::NamespaceNotAllowed { namespace } => {
                write!(f, "{worker} takes no models of namespace {namespace} (its spec.allowedNamespaces)")
            }
            Reason::Unresolved { why } => f.write_str(why),
            Reason::HasReplica => write!(f, "{worker}: {device} has a replica of this model already"),
            Reason::NotNeeded { taken, taken_bandwidth, bandwidth } => {
                write!(
                    f,
                    "{worker}: {device} ({bandwidth} GB/s) is not needed; it is on {taken} ({taken_bandwidth} GB/s)"
                )
            }
        }
    }
}

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
    use super::*;

    fn at(worker: &str, reason: Reason) -> Rejection {
        Rejection {
            candidate: Candidate { worker: worker.to_owned(), device: Some("GPU-1".to_owned()) },
            reason,
        }
    }

    fn short_of(worker: &str, available: u64) -> Rejection {
        let gib = |tenths: u64| tenths * (1 << 30) / 10;
        at(
            worker,
            Reason::InsufficientMemory {
                needs: Footprint { weights: gib(185), kv: gib(26), activations: gib(2), overhead: gib(3) },
                context: 65536,
                sequences: 1,
                total: 24 << 30,
                used_by_others: gib(7),
                reserve: 0,
                held: vec![Held { model: ModelKey::new("default", "chat"), bytes: gib(81) }],
                available: gib(available),
            },
        )
    }

    #[test]
    fn memory_is_told_part_by_part() {
        assert_eq!(
            short_of("box", 152).to_string(),
            "needs 21.6 GiB: weights 18.5, KV 2.6 at 65,536 × 1, activations 0.2, overhead 0.3; \
             box: 15.2 of 24.0 GiB free on GPU-1, 8.1 held by default/chat, 0.7 used by others"
        );
    }

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
