//! What the administrator says of a machine.

// KubeSchema repeats the structs inside functions, with their visibility.
#![allow(unreachable_pub)]
// Each printer column has a type and a name.
#![allow(clippy::duplicated_attributes)]

use std::{borrow::Cow, fmt};

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::WorkerStatus;
use crate::{Duration, Quantity};

/// What the administrator says of a machine.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "hearth.dev",
    version = "v1alpha1",
    kind = "Worker",
    plural = "workers",
    category = "hearth",
    status = "WorkerStatus",
    derive = "PartialEq",
    doc = "One machine that serves models: a node of the cluster (kind Pod) or a machine outside it (kind Joined). It stays, with what is known of its devices, also while no process runs on the machine.",
    printcolumn(
        name = "Kind",
        type_ = "string",
        json_path = ".spec.kind",
        description = "Pod: a node of the cluster. Joined: outside it."
    ),
    printcolumn(
        name = "Device",
        type_ = "string",
        json_path = ".status.summary.device",
        description = "What engines run on."
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".status.summary.memory",
        description = "Memory of all its devices."
    ),
    printcolumn(
        name = "Free",
        type_ = "string",
        json_path = ".status.summary.free",
        description = "Of that, not in use by anyone."
    ),
    printcolumn(
        name = "Models",
        type_ = "integer",
        json_path = ".status.models",
        description = "Replicas it holds or is about to hold."
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.state",
        description = "Parked, Starting, Ready, Draining or Gone."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.kind != 'Pod' || has(self.nodeName)", "a Worker of kind Pod needs nodeName, the node that it serves on; add it"))]
#[x_kube(validation = ("self.kind != 'Joined' || !has(self.nodeName)", "a Worker of kind Joined is no node of the cluster; remove nodeName"))]
#[x_kube(validation = ("self.kind != 'Joined' || has(self.allowedNamespaces)", "a Worker of kind Joined needs allowedNamespaces, the namespaces whose models it may see; list them, or [\"*\"] for all"))]
#[x_kube(validation = ("has(self.nodeName) == has(oldSelf.nodeName) && (!has(self.nodeName) || self.nodeName == oldSelf.nodeName)", "nodeName can't be changed; delete the Worker and create one for the other node"))]
pub struct WorkerSpec {
    /// Pod: a node of the cluster, served by a Pod that Hearth makes. Joined: a
    /// machine outside the cluster that dials in (No effect yet). Can't be changed.
    #[x_kube(validation = ("self == oldSelf", "kind can't be changed; delete the Worker and create it anew"))]
    pub kind: WorkerKind,

    /// The node, for kind Pod. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node_name: Option<String>,

    /// How many GPUs the worker Pod requests: All that the node has and no other
    /// Pod requested, or a number. 0: none, the engine runs on the CPU. Default: All.
    #[serde(default)]
    pub gpus: Gpus,

    /// The resource that the node's device plugin offers GPUs as. Default:
    /// nvidia.com/gpu.
    #[serde(default = "default_resource_name")]
    #[schemars(length(max = 317))]
    #[x_kube(validation = ("self.matches('^[a-z0-9.-]+/[A-Za-z0-9._-]+$')", "resourceName must be an extended resource such as nvidia.com/gpu"))]
    pub resource_name: String,

    /// When the machine is given back to the cluster. Default: after 30m without
    /// a model.
    #[serde(default)]
    pub release: Release,

    /// Take the machine out of service: its models go elsewhere or wait, and its
    /// Pod ends, so that its GPUs are free for something else. Default: false.
    #[serde(default)]
    pub closed: bool,

    /// When the machine is open, in its own time zone. Empty: always. No effect yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 14))]
    pub hours: Vec<Hours>,

    /// Memory of each device that is left to others, on top of what they use
    /// already: a Kubernetes quantity such as 1Gi. Default: 1Gi.
    #[serde(default = "default_reserve")]
    pub reserve: Quantity,

    /// Namespaces whose models may be placed here; "*" stands for all. A Secret or
    /// a model of another namespace never gets here. Default for kind Pod: ["*"];
    /// kind Joined must say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub allowed_namespaces: Option<Vec<String>>,

    /// The volume that model files are kept on.
    #[serde(default)]
    pub store: Store,
}

/// Where a machine is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkerKind {
    /// A node of the cluster.
    Pod,
    /// Outside it.
    Joined,
}

/// How many GPUs a worker Pod requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gpus {
    /// All that the node has and no other Pod requested.
    #[default]
    All,
    /// So many.
    Count(u32),
}

impl fmt::Display for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl Serialize for Gpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("All"),
            Self::Count(count) => serializer.serialize_u32(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Gpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(u32),
            String(String),
        }
        match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(count) => Ok(Self::Count(count)),
            IntOrString::String(text) if text == "All" => Ok(Self::All),
            IntOrString::String(text) => {
                Err(de::Error::custom(format!("gpus: {text:?}: use All or a number without quotes")))
            }
        }
    }
}

impl JsonSchema for Gpus {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Gpus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The bounds guard the integer form, the pattern the text.
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": 0,
            "maximum": 64,
            "maxLength": 3,
            "pattern": "^All$",
        })
    }
}

/// When a machine is given back to the cluster.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// WhenIdle: the worker Pod ends after a while without a model, and starts
    /// again when one needs it. Never: it stays. Default: WhenIdle.
    #[serde(default)]
    pub policy: ReleasePolicy,

    /// How long without a model, for WhenIdle, such as 30m. Default: 30m.
    #[serde(default = "default_release_after")]
    #[x_kube(validation = ("self.matches('[0-9]')", "release.after must be a duration such as 30m; 0s gives the machine back at once"))]
    pub after: Duration,
}

impl Default for Release {
    fn default() -> Self {
        Self { policy: ReleasePolicy::default(), after: default_release_after() }
    }
}

/// Whether a machine is given back.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReleasePolicy {
    /// After a while without a model.
    #[default]
    WhenIdle,
    /// It stays.
    Never,
}

/// A span of each day in which a machine is open.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hours {
    /// From, such as 08:00. No effect yet.
    #[schemars(length(max = 5))]
    #[x_kube(validation = ("self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')", "open must be a time of day from 00:00 to 23:59, such as 08:00"))]
    pub open: String,
    /// To, such as 23:00; before open means the next day. No effect yet.
    #[schemars(length(max = 5))]
    #[x_kube(validation = ("self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')", "close must be a time of day from 00:00 to 23:59, such as 23:00"))]
    pub close: String,
    /// IANA name, such as Europe/Berlin. Default: UTC. No effect yet.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

/// The volume that model files are kept on.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// What model files may take, a Kubernetes quantity: files that no model needs
    /// make room, longest unused first. It is also the size of the volume, when that
    /// is made; a later value does not resize the volume. Default: 200Gi.
    #[serde(default = "default_store_size")]
    pub size: Quantity,

    /// Its StorageClass. Left out: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
}

impl Default for Store {
    fn default() -> Self {
        Self { size: default_store_size(), storage_class: None }
    }
}

impl WorkerSpec {
    /// A node of the cluster, with everything else left out.
    #[must_use]
    pub fn pod(node_name: impl Into<String>) -> Self {
        Self { node_name: Some(node_name.into()), allowed_namespaces: None, ..Self::of(WorkerKind::Pod) }
    }

    /// A machine outside the cluster that may see models of these namespaces.
    #[must_use]
    pub fn joined(allowed_namespaces: Vec<String>) -> Self {
        Self { allowed_namespaces: Some(allowed_namespaces), ..Self::of(WorkerKind::Joined) }
    }

    fn of(kind: WorkerKind) -> Self {
        Self {
            kind,
            node_name: None,
            gpus: Gpus::default(),
            resource_name: default_resource_name(),
            release: Release::default(),
            closed: false,
            hours: Vec::new(),
            reserve: default_reserve(),
            allowed_namespaces: None,
            store: Store::default(),
        }
    }

    /// Whether models of a namespace may be placed here.
    #[must_use]
    pub fn allows(&self, namespace: &str) -> bool {
        match (&self.allowed_namespaces, self.kind) {
            (Some(allowed), _) => allowed.iter().any(|a| a == "*" || a == namespace),
            (None, WorkerKind::Pod) => true,
            (None, WorkerKind::Joined) => false,
        }
    }
}

fn default_resource_name() -> String {
    "nvidia.com/gpu".to_owned()
}

const fn default_release_after() -> Duration {
    Duration::from_mins(30)
}

fn default_reserve() -> Quantity {
    quantity("1Gi")
}

fn default_store_size() -> Quantity {
    quantity("200Gi")
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}

fn quantity(literal: &'static str) -> Quantity {
    literal.parse().expect("a literal quantity")
}
