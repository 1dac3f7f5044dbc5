//! What the planner is told. Everything is a fact at one moment; spans of time
//! are given as such, because the planner has no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use hearth_model::{
    Dims, Footprint, KvType, WeightStorage,
    footprint::{DeviceKind, Overhead},
};
use serde::Serialize;

use crate::Selector;

/// The machines and the models. The order of the lists does not matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Observed {
    /// Every Worker; names are unique.
    pub workers: Vec<Worker>,
    /// Every ServedModel that was accepted; keys are unique.
    pub models: Vec<Model>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worker {
    /// The Worker's name.
    pub name: String,
    /// Whether we start and stop its process.
    pub kind: WorkerKind,
    /// Where in its life it is.
    pub state: WorkerState,
    /// The administrator wants it out of service.
    pub closed: bool,
    /// Whose models it may hold.
    pub namespaces: Namespaces,
    /// Labels of the Worker object.
    pub labels: BTreeMap<String, String>,
    /// What engines can run on.
    pub devices: Devices,
    /// What its Pod must get from the cluster before it can start. `None`: nothing.
    pub gpus: Option<GpuClaim>,
    /// Why it can't start, or could not when it was last tried.
    pub trouble: Option<Trouble>,
    /// Bytes that its store has left. `None`: not known yet.
    pub store_free: Option<u64>,
    /// Files that lie in its store, by [`ModelFile::id`].
    pub stored: BTreeSet<String>,
    /// When it is given back to the cluster.
    pub release: Release,
    /// For how long it has held no model.
    pub idle_for: Duration,
}

/// Whether we start and stop a machine's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum WorkerKind {
    /// A node of the cluster: we do.
    Pod,
    /// Outside the cluster: its owner does.
    Joined,
}

/// Where in its life a Worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum WorkerState {
    /// No process runs.
    Parked,
    /// The process starts.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it has and will exit.
    Draining,
    /// It does not answer.
    Gone,
}

/// A set of namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Namespaces {
    /// Any.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Namespaces {
    /// Whether it holds a namespace.
    #[must_use]
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(namespace),
        }
    }
}

/// What engines can run on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Devices {
    /// As last read.
    Known(Vec<Device>),
    /// Nobody has read them yet: the process must run once.
    Unmeasured {
        /// What they are presumed to be.
        kind: DeviceKind,
    },
}

/// One device. UUIDs are unique in a Worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Device {
    /// Names it for its life.
    pub uuid: String,
    /// What runs on it.
    pub kind: DeviceKind,
    /// What its maker calls it.
    pub product: String,
    /// Bytes of memory.
    pub total: u64,
    /// Bytes in use by processes that are not ours.
    pub used_by_others: u64,
    /// Bytes to be left to others on top of that, when something is placed.
    pub reserve: u64,
    /// Why it does not work.
    pub failed: Option<String>,
    /// Measured GB/s; `None`: the product's name decides.
    pub bandwidth: Option<u32>,
    /// How its engine keeps weights.
    pub storage: WeightStorage,
    /// What its engine takes beside tensors.
    pub overhead: Overhead,
}

/// GPUs that a worker Pod requests from the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuClaim {
    /// How many it would request if it were started now.
    pub wanted: u32,
    /// How many of the node no other Pod has requested.
    pub free: u32,
    /// The Pods that have the rest, as `namespace/name`.
    pub holders: Vec<String>,
}

/// Why a machine can't start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// One CamelCase word, such as Unschedulable.
    pub reason: String,
    /// A sentence with the particulars.
    pub message: String,
}

/// When a machine is given back to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Release {
    /// After so long without a model.
    WhenIdle(Duration),
    /// It stays.
    Never,
}

/// Names a ServedModel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ModelKey {
    /// From both parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for ModelKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A model to be served.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// Its name.
    pub key: ModelKey,
    /// When it was made, in seconds of some epoch: the older goes first.
    pub created: i64,
    /// Higher goes first.
    pub priority: i32,
    /// How many replicas are wanted.
    pub replicas: u32,
    /// Its file, or why there is none yet.
    pub file: Resolution,
    /// Tokens that a sequence may hold.
    pub context: Context,
    /// Sequences whose KV cache is reserved.
    pub sequences: u32,
    /// How the KV cache is kept.
    pub kv_type: KvType,
    /// Where it may be.
    pub placement: Placement,
    /// The replicas that were last ordered.
    pub current: Vec<Replica>,
    /// Where its file could not be loaded, and never will.
    pub setbacks: Vec<Setback>,
}

/// A device where a model's file could not be loaded, though its source gave it:
/// trying again there can't help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setback {
    /// The Worker.
    pub worker: String,
    /// UUID of the device.
    pub device: String,
    /// What the Worker told.
    pub message: String,
}

/// What is known of a model's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Resolution {
    /// Its header was read.
    Resolved(ModelFile),
    /// Why it was not.
    Unresolved(String),
}

/// A file whose header was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelFile {
    /// What tells it from every other file: its digest, or where it lies.
    pub id: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// What its memory depends on.
    pub dims: Dims,
}

/// Tokens that a sequence may hold, `1 <= min <= max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Context {
    /// The least that is useful.
    pub min: u32,
    /// The most that is wanted.
    pub max: u32,
}

/// Where a model may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// On Workers with these labels.
    pub selector: Selector,
    /// On these kinds (`Cuda`, …), UUIDs or parts of product names. Empty: any.
    pub devices: Vec<String>,
    /// Also outside the cluster.
    pub joined: bool,
}

impl Default for Placement {
    fn default() -> Self {
        Self { selector: Selector::default(), devices: Vec::new(), joined: true }
    }
}

/// A replica that was ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// Which of its model's; unique among them.
    pub ordinal: u32,
    /// Where it is.
    pub worker: String,
    /// UUID of its device.
    pub device: String,
    /// Tokens that a sequence may hold.
    pub context: u32,
    /// Sequences whose KV cache is reserved.
    pub sequences: u32,
    /// How the KV cache is kept.
    pub kv_type: KvType,
    /// [`ModelFile::id`] of its file.
    pub file: String,
    /// What it takes: measured if that is known, else as it was planned.
    pub footprint: Footprint,
    /// Whether it answers requests.
    pub ready: bool,
    /// The ordinal of the replica whose place it takes once it is ready.
    pub replaces: Option<u32>,
}
