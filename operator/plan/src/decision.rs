//! What the planner says.

use std::time::Duration;

use hearth_model::Footprint;
use serde::Serialize;

use crate::{ModelKey, Rejection};

/// The full decision of one planning round. It leaves its execution nothing to
/// choose: a replica that is not named is unloaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// Every model, by key.
    pub models: Vec<ModelPlan>,
    /// Every Worker, by name.
    pub workers: Vec<WorkerPlan>,
    /// What is promised on every known device, by Worker and UUID.
    pub devices: Vec<DeviceLoad>,
    /// The order in which wanted replicas had their turn, and what each gets once
    /// all machines that are to start run. Read in this order, it never gets worse
    /// when memory is added.
    #[serde(skip)]
    pub turns: Vec<Turn>,
    /// The plan may change after so long even if nothing else does: a machine
    /// will have been idle for long enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recheck_after: Option<Duration>,
}

impl Plan {
    /// The plan of a model.
    #[must_use]
    pub fn model(&self, key: &ModelKey) -> Option<&ModelPlan> {
        self.models.binary_search_by(|m| m.key.cmp(key)).ok().map(|at| &self.models[at])
    }

    /// The plan of a Worker.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<&WorkerPlan> {
        self.workers.binary_search_by(|w| w.name.as_str().cmp(name)).ok().map(|at| &self.workers[at])
    }
}

/// What a wanted replica got when it was its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// The model.
    pub model: ModelKey,
    /// Which of its replicas.
    pub ordinal: u32,
    /// What it got.
    pub level: Rank,
}

/// How well a replica is placed, from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Rank {
    /// It has no place.
    Nowhere,
    /// It has one.
    Placed {
        /// Power of two of the device's GB/s.
        class: u32,
        /// It stays where and as it is.
        stays: bool,
    },
}

/// What becomes of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelPlan {
    /// Its name.
    pub key: ModelKey,
    /// Its replicas, by ordinal.
    pub replicas: Vec<ReplicaPlan>,
    /// Replicas that serve until the one that replaces them is ready, by ordinal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lingering: Vec<ReplicaPlan>,
    /// Replicas that were there and end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removal>,
    /// How many wanted replicas have no place.
    pub missing: u32,
    /// Workers that must start before it is known whether the model fits there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measuring: Vec<String>,
    /// Every candidate that was not taken, by Worker and device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejection>,
}

/// A replica and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaPlan {
    /// Which of its model's. Stays as long as the replica does, also when it moves
    /// and the old one ends at once.
    pub ordinal: u32,
    /// The Worker.
    pub worker: String,
    /// UUID of the device.
    pub device: String,
    /// Tokens that a sequence may hold.
    pub context: u32,
    /// Bytes reserved.
    pub footprint: Footprint,
    /// What is new about it.
    pub change: Change,
    /// The ordinal of the replica, among [`ModelPlan::lingering`], that serves until
    /// this one is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u32>,
}

/// What is new about a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Change {
    /// Nothing.
    Keep,
    /// It was not there.
    Load,
    /// It was elsewhere, or different.
    Move {
        /// Where it was.
        worker: String,
        /// UUID of the device where it was.
        device: String,
        /// Why it can't stay as it was.
        reason: MoveReason,
    },
}

/// Why a replica can't stay as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum MoveReason {
    /// Its file, sequences or KV type are no longer those asked for, or its
    /// context is out of the range asked for.
    SpecChanged,
    /// Its place is no longer one that it may have: the reason's name.
    NotAllowed(String),
    /// Its Worker or device is not there any more.
    DeviceGone,
    /// A model of higher priority took its place.
    MadeRoom,
    /// What others use has grown into its memory.
    MemoryShrank,
    /// A device of a faster class has room for it.
    Faster,
}

/// A replica that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Which of its model's.
    pub ordinal: u32,
    /// Where it was.
    pub worker: String,
    /// UUID of its device.
    pub device: String,
    /// Why it ends.
    pub reason: RemoveReason,
}

/// Why a replica ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RemoveReason {
    /// Fewer are wanted.
    ScaledDown,
    /// It can't stay, and there is no other place.
    NoPlace(MoveReason),
    /// The one that replaces it is ready, or needs its memory.
    Replaced,
    /// It was to replace another, which stays: it can't have its place any more.
    NotNeeded,
}

/// What becomes of a Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerPlan {
    /// Its name.
    pub name: String,
    /// What to do with its process.
    pub action: WorkerAction,
    /// Replicas placed on it.
    pub replicas: u32,
}

/// What to do with a Worker's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum WorkerAction {
    /// Leave it as it is.
    Keep,
    /// Start it: models were placed on it, or will move to it for speed once it runs.
    Start,
    /// Start it, to learn what its devices have: a model might fit there.
    StartToMeasure,
    /// End it: it has been idle for long enough.
    ParkIdle,
    /// End it: the administrator closed it, and it holds nothing any more.
    ParkClosed,
    /// End it: it can't start, and nothing is placed on it.
    ParkTroubled,
}

/// What is promised on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceLoad {
    /// The Worker.
    pub worker: String,
    /// UUID of the device.
    pub device: String,
    /// Bytes of memory.
    pub total: u64,
    /// Bytes in use by processes that are not ours.
    pub used_by_others: u64,
    /// Bytes reserved for our replicas.
    pub reserved: u64,
    /// Bytes that a new replica could still have.
    pub available: u64,
}
