//! Where a model may be placed.

// KubeSchema repeats the structs inside functions, with their visibility.
#![allow(unreachable_pub)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the model may be placed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Only on Workers with these labels. Left out: on any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub worker_selector: Option<LabelSelector>,

    /// Only on these devices: kinds (Cuda, Metal, Vulkan, Cpu), UUIDs, or parts of
    /// product names in any case, such as "RTX 3090". Empty: on any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub devices: Vec<String>,

    /// Whether machines outside the cluster may serve it: Allow or Deny. No effect
    /// yet: no such machine can join. Default: Allow.
    #[serde(default)]
    pub joined: JoinedPolicy,

    /// GPUs to spread a replica over. No effect yet: a replica is on one device.
    /// Default: 1.
    #[serde(default = "default_gpus")]
    #[schemars(range(max = 16))]
    #[x_kube(validation = ("self >= 1", "placement.gpus must be at least 1; leave it out for one device"))]
    pub gpus: u32,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            worker_selector: None,
            devices: Vec::new(),
            joined: JoinedPolicy::default(),
            gpus: default_gpus(),
        }
    }
}

/// Whether machines outside the cluster may serve a model.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JoinedPolicy {
    /// They may.
    #[default]
    Allow,
    /// Only machines of the cluster.
    Deny,
}

const fn default_gpus() -> u32 {
    1
}
