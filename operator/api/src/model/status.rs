//! What became of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::KvType;

/// What became of a ServedModel. Written by the controller alone; sizes and
/// progress are rounded, so that nothing is rewritten when nothing happened.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServedModelStatus {
    /// The metadata.generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted (the spec makes sense), Resolved (the file's header was read),
    /// Placed (every replica has a device), Ready (requests are answered).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,

    /// Where in its life the model is: Pending, Invalid, Resolving, Waiting (it
    /// fits nowhere now), Starting (its machine starts), Fetching, Loading, Ready,
    /// Failed or Stopped (no replicas asked for). The conditions say why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ModelState>,

    /// What the source turned out to hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,

    /// What a replica takes on its device, in bytes, part by part: as planned, and
    /// once it is loaded, as its engine allocated. Of several, the largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,

    /// Where the model is, or is about to be. More than are asked for, while some
    /// move to a faster device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub replicas: Vec<ReplicaStatus>,

    /// Why replicas that are asked for have no device: the candidates that were
    /// not taken, grouped by reason, at most 8 groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub rejected: Vec<RejectedGroup>,

    /// Replicas that answer requests.
    pub ready_replicas: i32,

    /// A label selector for the scale subresource. It selects no Pods: replicas
    /// live inside worker Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,

    /// What kubectl get prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// Where in its life a model is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModelState {
    /// Not looked at yet.
    Pending,
    /// The spec was refused: see the condition Accepted.
    Invalid,
    /// The file's header is being read.
    Resolving,
    /// It fits nowhere now: see rejected.
    Waiting,
    /// The machine chosen for it is starting.
    Starting,
    /// Its file is on the way.
    Fetching,
    /// Its weights go to the device.
    Loading,
    /// Requests are answered.
    Ready,
    /// A step failed: see the conditions.
    Failed,
    /// No replicas are asked for.
    Stopped,
}

/// What the source turned out to hold.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resolved {
    /// The spec.source.uri that was resolved.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub uri: String,

    /// Where the bytes are.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub url: String,

    /// What the source calls this version of the file: a commit or an ETag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub revision: Option<String>,

    /// SHA-256 of the file, once known: 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub digest: Option<String>,

    /// Size of the file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,

    /// The architecture that the file names, such as llama.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub architecture: Option<String>,

    /// The quantization of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub quantization: Option<String>,

    /// Tokens that a sequence may hold, on the replica with the fewest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,

    /// Tokens that the model was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_context: Option<u32>,
}

/// Bytes that a replica takes on its device, part by part.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Footprint {
    /// The model's tensors.
    pub weights: u64,
    /// The KV cache of all sequences at full context.
    pub kv: u64,
    /// Scratch of a step.
    pub activations: u64,
    /// What is not tensors: vocabulary, template, allocator slack.
    pub overhead: u64,
}

/// What a replica is called between processes: unique in the cluster, and stable for its life.
/// `uid` is the ServedModel's.
#[must_use]
pub fn replica_id(uid: &str, ordinal: u32) -> String {
    format!("{uid}-{ordinal}")
}

/// The model, loaded on one device of one Worker: the controller's intent, and
/// what the Worker tells of it.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// Which of the model's replicas this is, from 0. Stays for the replica's life.
    pub ordinal: u32,
    /// The Worker that holds it.
    #[schemars(length(max = 253))]
    pub worker: String,
    /// UUID of the device.
    #[schemars(length(max = 128))]
    pub device: String,
    /// Tokens that a sequence may hold.
    pub context: u32,
    /// Sequences whose KV cache is reserved.
    pub sequences: u32,
    /// How the KV cache is kept: F16 or Q8_0.
    #[serde(default)]
    pub kv_type: KvType,
    /// What identifies the file it was planned from: its digest, or where none is known, its URL.
    #[serde(default)]
    #[schemars(length(max = 2560))]
    pub file: String,
    /// Bytes reserved for it on the device.
    #[serde(default)]
    pub footprint: Footprint,
    /// The leader's epoch in which it was last ordered.
    #[serde(default)]
    pub epoch: u64,
    /// The generation of its Worker's set in which it was last ordered.
    #[serde(default)]
    pub generation: u64,
    /// Pending, Fetching, Loading, Warming, Ready, Draining or Failed.
    pub state: ReplicaState,
    /// The ordinal of the replica that serves until this one is Ready, and then ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u32>,
    /// How far the present step is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Why it is not Ready: one CamelCase word, such as DigestMismatch or
    /// WorkerGone. Absent while it goes as it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// Why it is not Ready: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// How many of these replicas meet a condition, where one that moves and the one
/// that replaces it count as one.
#[must_use]
pub fn count(replicas: &[ReplicaStatus], meets: impl Fn(&ReplicaStatus) -> bool) -> usize {
    let is_replaced = |replica: &&ReplicaStatus| {
        replicas.iter().any(|heir| heir.replaces == Some(replica.ordinal) && meets(heir))
    };
    replicas.iter().filter(|replica| meets(replica)).filter(|replica| !is_replaced(replica)).count()
}

/// Where in its life a replica is.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplicaState {
    /// Ordered.
    #[default]
    Pending,
    /// The file is on the way to the Worker's store.
    Fetching,
    /// The weights go to the device.
    Loading,
    /// One generation is tried.
    Warming,
    /// It answers requests.
    Ready,
    /// It finishes what it has and takes no more.
    Draining,
    /// A step failed: see message.
    Failed,
}

/// How far a step is.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Of the bytes of this step, 0 to 100.
    pub percent: u32,
    /// Bytes done, rounded.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// About how long it will take still, such as 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<crate::Duration>,
}

/// Candidates that were not taken for the same reason.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RejectedGroup {
    /// One CamelCase word, such as InsufficientMemory.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// How many candidates.
    pub count: u32,
    /// The candidate that came nearest: a Worker, or a device of it.
    #[schemars(length(max = 512))]
    pub best: String,
    /// What was missing there, with numbers.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What kubectl get prints.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// The model's file or repository, such as SmolLM2-135M-Instruct.
    #[schemars(length(max = 128))]
    pub model: String,
    /// Ready replicas of those asked for, such as 1/1.
    #[schemars(length(max = 16))]
    pub replicas: String,
    /// The Workers that hold it, such as box, or box,attic.
    #[schemars(length(max = 512))]
    pub worker: String,
    /// What a replica takes, such as 1.2Gi.
    #[schemars(length(max = 32))]
    pub memory: String,
}
