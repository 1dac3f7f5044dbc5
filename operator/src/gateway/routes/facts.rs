//! What the index is told about the cluster, already parsed and free of Kubernetes types.

use std::{fmt, time::Duration};

use jiff::Timestamp;

/// A ServedModel's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelKey {
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object, which need not be its served name.
    pub name: String,
}

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A ServedModel, as far as routing needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFact {
    /// Which object this is.
    pub key: ModelKey,
    /// When the object was created: the oldest object wins a served name.
    pub created: Timestamp,
    /// The name that requests carry.
    pub served_name: String,
    /// Tokens a sequence may hold; 0 while not known.
    pub context_tokens: u32,
    /// The resolved quantization, empty while not known.
    pub quantization: String,
    /// Why there is nothing ready, should nothing be ready.
    pub standing: Standing,
    /// The replicas that the controller says are ready.
    pub ready: Vec<ReplicaFact>,
}

/// A ready replica: a device of a Worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaFact {
    /// What the Worker knows it by.
    pub id: String,
    /// The Worker's object name.
    pub worker: String,
    /// The uuid of the device that holds the replica.
    pub device: String,
    /// Sequences that it generates at a time.
    pub sequences: u32,
}

/// A Worker, as far as routing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFact {
    /// The object's name.
    pub name: String,
    /// `host:port` to dial; absent while the Worker takes no requests.
    pub address: Option<String>,
}

/// Where a model without a ready replica stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Not on any machine yet: it is being looked at, or it is idle.
    Pending(Progress),
    /// A replica is being fetched, loaded or warmed up.
    Loading(Progress),
    /// Waiting cannot help.
    Failed(Fault),
}

/// What a model is doing at present.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// A sentence without a full stop.
    pub message: String,
    /// Bytes done of the present step, 0 where the step has none.
    pub done_bytes: u64,
    /// Bytes of the present step, 0 where the step has none.
    pub total_bytes: u64,
    /// Time left, where anything is known.
    pub eta: Option<Duration>,
}

impl Progress {
    /// Progress of which only the sentence is known.
    pub fn saying(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

/// Why waiting cannot help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The object must be changed first; holds the condition's message.
    Rejected(String),
    /// Nothing in the cluster has room for it, or it cannot be loaded; holds the condition's
    /// message.
    Unplaceable(String),
}

impl Fault {
    /// The sentence that a person reads.
    pub fn message(&self) -> &str {
        match self {
            Self::Rejected(message) | Self::Unplaceable(message) => message,
        }
    }
}
