//! What is known of a machine.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of a machine. Written by the controller alone; readings are
/// rounded, so that nothing is rewritten when nothing happened.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerStatus {
    /// The metadata.generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Reachable (its process answers), Healthy (its devices work), Open (models
    /// may be placed here).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,

    /// Parked (no process runs), Starting, Ready, Draining (it finishes what it
    /// has) or Gone (it does not answer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<WorkerState>,

    /// Version of the worker process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,

    /// The worker Pod, for kind Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod_name: Option<String>,

    /// Where the process serves gRPC: host:port. Absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub address: Option<String>,

    /// When the process's certificate ends. Renewed long before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub certificate_expiry: Option<Time>,

    /// What engines can run on, as last read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub devices: Vec<DeviceStatus>,

    /// The store's volume, as last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreStatus>,

    /// The newest intent that the process took over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,

    /// Replicas it holds or is about to hold.
    pub models: i32,

    /// Since when it holds no model. Absent while it holds one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub idle_since: Option<Time>,

    /// What kubectl get prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<WorkerSummary>,
}

/// Where in its life a Worker is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkerState {
    /// No process runs; the machine is free for others.
    Parked,
    /// The process starts.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it has.
    Draining,
    /// It does not answer.
    Gone,
}

/// What an engine can run on.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// Names the device for its life, such as GPU-6d5f….
    #[schemars(length(max = 128))]
    pub uuid: String,
    /// Cuda, Metal, Vulkan or Cpu.
    pub kind: DeviceKind,
    /// What the maker calls it, such as NVIDIA GeForce RTX 3090.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub product: String,
    /// Its memory, in bytes.
    pub total: u64,
    /// Bytes that processes other than ours use, rounded up.
    #[serde(default)]
    pub used_by_others: u64,
    /// Bytes in use by no one, rounded down.
    #[serde(default)]
    pub free: u64,
    /// When it was read; rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub measured_at: Option<Time>,
    /// Whether it works. Default: true.
    #[serde(default = "yes")]
    pub healthy: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// How its engine keeps models' weights: Packed, about as large as in the file, or
    /// F32. Absent: F32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightStorage>,
}

/// How an engine keeps a model's weights.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightStorage {
    /// Every tensor as 32-bit floats.
    F32,
    /// Matrices about as large as in the file.
    Packed,
}

const fn yes() -> bool {
    true
}

/// What kind of device it is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeviceKind {
    /// An NVIDIA GPU.
    Cuda,
    /// Apple silicon.
    Metal,
    /// A GPU through Vulkan.
    Vulkan,
    /// The processor and its memory.
    Cpu,
}

/// The store's volume.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoreStatus {
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes in use, rounded up.
    pub used: u64,
    /// Of these, bytes of files that no model needs now, rounded down: they make
    /// room for others.
    pub unused: u64,
}

/// An intent, ordered by epoch, then generation.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Applied {
    /// Grows with each change of leader.
    pub epoch: u64,
    /// Grows with each change of what that leader wants of the Worker.
    pub generation: u64,
}

/// What kubectl get prints.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerSummary {
    /// Such as RTX 3090, or 2x RTX 3090.
    #[schemars(length(max = 256))]
    pub device: String,
    /// Memory of all devices, such as 24.0Gi.
    #[schemars(length(max = 32))]
    pub memory: String,
    /// Of that, not in use by anyone, such as 21.3Gi.
    #[schemars(length(max = 32))]
    pub free: String,
}
