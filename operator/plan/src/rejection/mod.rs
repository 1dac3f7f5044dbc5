//! Why a candidate was not taken, and how that is told.

mod group;
mod message;

use std::fmt;

use hearth_model::Footprint;
use serde::Serialize;

pub use group::{Group, group};

use crate::{ModelKey, observed::Worker, slots::Slot};

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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn at(worker: &str, reason: Reason) -> Rejection {
        Rejection {
            candidate: Candidate { worker: worker.to_owned(), device: Some("GPU-1".to_owned()) },
            reason,
        }
    }

    pub(super) fn short_of(worker: &str, available: u64) -> Rejection {
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
}
