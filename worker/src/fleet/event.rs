//! What happens to the fleet, and what it then wants done.

use std::path::PathBuf;
use std::time::Instant;

use hearth_model::Footprint;
use hearth_source::Digest;

use crate::intent::Intent;
use crate::spec::{Failure, FileSpec, ReplicaSpec};

/// Names one coming and going of a replica on a device. Never used twice in the
/// life of a process, so that what is said of an earlier one is not taken for a
/// later one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

impl InstanceId {
    /// The id that the engine process knows it by.
    pub fn engine_id(self) -> String {
        format!("i{}", self.0)
    }
}

/// One try of an instance at its present step; results of earlier tries are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Try {
    /// Whose.
    pub instance: InstanceId,
    /// Which.
    pub number: u32,
}

/// A file on this machine, its digest checked or computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Of all its bytes.
    pub sha256: Digest,
    /// Its length.
    pub size_bytes: u64,
}

/// What a load says on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStep {
    /// Weights go to the device; the numbers are bytes.
    Weights,
    /// A first generation runs.
    Warming,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A set is in force from now: persisted, and its fence judged.
    Applied(Intent),
    /// Bytes came in.
    FetchProgress {
        /// Of which try.
        of: Try,
        /// On disk by now.
        done: u64,
        /// Altogether; 0 if not known.
        total: u64,
    },
    /// The file is here.
    Fetched {
        /// Of which try.
        of: Try,
        /// Where it is.
        file: LocalFile,
    },
    /// The file could not be had.
    FetchFailed {
        /// Of which try.
        of: Try,
        /// Why.
        failure: Failure,
    },
    /// The load goes on.
    LoadProgress {
        /// Of which try.
        of: Try,
        /// What it is doing.
        step: LoadStep,
        /// In the step's unit.
        done: u64,
        /// In the step's unit.
        total: u64,
    },
    /// The engine answers requests for it.
    Loaded {
        /// Of which try.
        of: Try,
        /// What the engine allocated.
        measured: Footprint,
    },
    /// The engine did not load it, and holds nothing of it.
    LoadFailed {
        /// Of which try.
        of: Try,
        /// Why.
        failure: Failure,
    },
    /// No request is running on it any more; said after [`Effect::Drain`].
    Idle(InstanceId),
    /// The engine holds nothing of it any more; said after [`Effect::Unload`].
    Unloaded(InstanceId),
    /// The device's engine process answers.
    EngineUp {
        /// The device's uuid.
        device: String,
    },
    /// The device's engine process is gone, with all that it held.
    EngineDown {
        /// The device's uuid.
        device: String,
        /// Why; `None` if it was asked to go.
        failure: Option<Failure>,
    },
    /// What the device can hold of ours has been measured.
    Budget {
        /// The device's uuid.
        device: String,
        /// Bytes: total, less what others use, less the reserve.
        bytes: u64,
        /// Bytes: the same, with the reserve.
        room: u64,
        /// Why nothing can be loaded there, if so.
        unusable: Option<Failure>,
    },
    /// The process is going: nothing new is begun.
    Leaving,
    /// Time has passed.
    Tick,
}

/// Something to be done; its end comes back as an [`Event`].
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Get the file. Ends with `Fetched` or `FetchFailed`.
    Fetch {
        /// To be named in the result.
        of: Try,
        /// Which.
        file: FileSpec,
    },
    /// Stop getting the file; no result is awaited.
    StopFetch(InstanceId),
    /// Start the device's engine process. Ends with `EngineUp` or `EngineDown`.
    StartEngine {
        /// The device's uuid.
        device: String,
        /// Not before this time.
        at: Instant,
    },
    /// End the device's engine process. Ends with `EngineDown`.
    StopEngine {
        /// The device's uuid.
        device: String,
    },
    /// Load it. Ends with `Loaded` or `LoadFailed`.
    Load {
        /// To be named in the result.
        of: Try,
        /// Where, and in what shape.
        spec: Box<ReplicaSpec>,
        /// From which file.
        file: LocalFile,
    },
    /// Say `Idle` when no request runs on it.
    Drain(InstanceId),
    /// Unload it, also while it loads. Ends with `Unloaded`.
    Unload {
        /// Which.
        instance: InstanceId,
        /// From where.
        device: String,
    },
    /// Nothing is left of it: forget what was kept for it.
    Forget(InstanceId),
}
