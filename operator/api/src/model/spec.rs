//! What a person asks for.

// KubeSchema repeats the structs inside functions, with their visibility.
#![allow(unreachable_pub)]
// Each printer column has a type and a name.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Placement, ServedModelStatus, Source};
use crate::Duration;

/// What to serve, and how.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "hearth.dev",
    version = "v1alpha1",
    kind = "ServedModel",
    plural = "servedmodels",
    shortname = "sm",
    category = "hearth",
    namespaced,
    status = "ServedModelStatus",
    derive = "PartialEq",
    doc = "A model to serve. Hearth finds the machine where it fits and runs fastest, loads it there, and serves it over gRPC and the OpenAI HTTP API.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.readyReplicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".status.summary.model",
        description = "What is served: the model's file or repository."
    ),
    printcolumn(
        name = "Quant",
        type_ = "string",
        json_path = ".status.resolved.quantization",
        description = "The quantization of the file."
    ),
    printcolumn(
        name = "Context",
        type_ = "integer",
        json_path = ".status.resolved.context",
        description = "Tokens that a sequence may hold."
    ),
    printcolumn(
        name = "Replicas",
        type_ = "string",
        json_path = ".status.summary.replicas",
        description = "Ready replicas of those asked for."
    ),
    printcolumn(
        name = "Worker",
        type_ = "string",
        json_path = ".status.summary.worker",
        description = "The machine or machines that hold it."
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".status.summary.memory",
        description = "What a replica takes on its device."
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.state",
        description = "Where in its life the model is. kubectl describe says why."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServedModelSpec {
    /// Where the model's file comes from.
    pub source: Source,

    /// The name that requests carry. Default: the name of this object. Unique in
    /// the cluster: of two models with the same name the older is served, and the
    /// other says so in its condition Accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = ("self.matches('^[A-Za-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?$')", "servedName takes letters, digits and . _ : / - and begins and ends with a letter or digit, such as llama3.1:8b; rename it"))]
    pub served_name: Option<String>,

    /// Which quantization to serve: Auto (the source's own file, or of several the
    /// first of Q4_K_M, Q5_K_M, Q6_K, Q8_0 and so on, whatever fits), or an exact name
    /// such as Q4_K_M, Q8_0 or F16. Default: Auto.
    #[serde(default = "default_quantization")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = ("self.matches('^(Auto|F32|F16|BF16|Q[2-8]_(0|1|K|K_S|K_M|K_L|K_XL)|IQ[1-4]_(XXS|XS|S|M|NL|XL)|TQ[12]_0|MXFP4|NVFP4)$')", "quantization is no name that Hearth knows; use Auto, or the exact name of a quantization such as Q4_K_M, Q8_0, BF16 or F16"))]
    pub quantization: String,

    /// How many tokens a sequence may hold, prompt and answer together.
    #[serde(default)]
    pub context: Context,

    /// Sequences that are answered at the same time, and whose KV cache is
    /// reserved at full context. More requests than these wait. Default: 4.
    #[serde(default = "default_sequences")]
    #[schemars(range(max = 1024))]
    #[x_kube(validation = ("self >= 1", "sequences must be at least 1; leave it out for the default of 4"))]
    pub sequences: u32,

    /// How the KV cache is kept: F16, or Q8_0, which takes about half the memory
    /// (Q8_0: No effect yet, F16 is used). Default: F16.
    #[serde(default)]
    pub kv_type: KvType,

    /// How many copies to serve, each on a device of its own. 0 serves none and
    /// keeps the object. Default: 1.
    #[serde(default = "default_replicas")]
    #[schemars(range(max = 64))]
    #[x_kube(validation = ("self >= 0", "replicas must not be negative; use 0 to serve none"))]
    pub replicas: i32,

    /// Unload after so long without a request, such as 30m; the next request
    /// loads it again. Left out: never unloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self.matches('[1-9]')", "idleAfter must be longer than zero, such as 30m; leave it out to never unload"))]
    pub idle_after: Option<Duration>,

    /// Who goes first when not all models fit: -100 to 100, higher first. A model
    /// may take the place of one with a lower priority, never of an equal one that
    /// runs. Default: 0.
    #[serde(default)]
    #[x_kube(validation = ("self >= -100 && self <= 100", "priority must be from -100 to 100, higher goes first; 0 is the default"))]
    pub priority: i32,

    /// What matters when there is a choice of machines: Speed, Quiet or
    /// Efficiency. No effect yet: Speed is used. Default: Speed.
    #[serde(default)]
    pub prefer: Preference,

    /// Where the model may be placed. Default: anywhere.
    #[serde(default)]
    pub placement: Placement,

    /// How long a load may take before it counts as failed, such as 10m. A floor:
    /// it grows with the bytes to fetch. Default: 10m.
    #[serde(default = "default_load_timeout")]
    #[x_kube(validation = ("self.matches('[1-9]')", "loadTimeout must be longer than zero, such as 10m"))]
    pub load_timeout: Duration,
}

/// How the KV cache is kept.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
pub enum KvType {
    /// 16-bit floats.
    #[default]
    F16,
    /// 8 bits an element and a scale a block.
    Q8_0,
}

/// What matters when there is a choice of machines.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Preference {
    /// Most tokens a second.
    #[default]
    Speed,
    /// Least noise.
    Quiet,
    /// Most tokens a joule.
    Efficiency,
}

impl ServedModelSpec {
    /// A spec with everything but the source left out.
    #[must_use]
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            source: Source { uri: uri.into(), sha256: None, secret_ref: None },
            served_name: None,
            quantization: default_quantization(),
            context: Context::default(),
            sequences: default_sequences(),
            kv_type: KvType::default(),
            replicas: default_replicas(),
            idle_after: None,
            priority: 0,
            prefer: Preference::default(),
            placement: Placement::default(),
            load_timeout: default_load_timeout(),
        }
    }
}

fn default_quantization() -> String {
    "Auto".to_owned()
}

const fn default_sequences() -> u32 {
    4
}

const fn default_replicas() -> i32 {
    1
}

const fn default_load_timeout() -> Duration {
    Duration::from_mins(10)
}
