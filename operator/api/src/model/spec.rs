//! What a person asks for.

// KubeSchema repeats the structs inside functions, with their visibility.
#![allow(unreachable_pub)]
// Each printer column has a type and a name.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServedModelStatus;
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

    /// Which quantization to serve: Auto (the source's own file, or the best that
    /// fits where the source has several), or an exact name such as Q4_K_M, Q8_0
    /// or F16. Default: Auto.
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

/// Where the model's file comes from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// One of hf://owner/repo[/file.gguf][@revision],
    /// https://host/path/file.gguf, pvc://claim/path/file.gguf (a claim that the
    /// chart's modelClaims names), oci://registry/repository:tag (No effect yet),
    /// s3://bucket/key (No effect yet). For example
    /// hf://HuggingFaceTB/SmolLM2-135M-Instruct-GGUF.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = ("self.matches('^(hf|oci|https|s3|pvc)://[^ /]+.*$')", "uri must begin with one of the schemes hf://, oci://, https://, s3:// or pvc:// and name something behind it, such as hf://owner/repo/file.gguf"))]
    pub uri: String,

    /// SHA-256 that the file must have: 64 lower-case hexadecimal digits. A file
    /// with another digest is not loaded. Left out: what the source says, else
    /// the digest of the first fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = ("self.matches('^[0-9a-f]{64}$')", "sha256 must be 64 lower-case hexadecimal digits, as sha256sum prints them"))]
    pub sha256: Option<String>,

    /// A Secret of the same namespace, labelled hearth.dev/credentials=true, with
    /// what the source asks for: key token (hf, https).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// A Secret of the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Tokens a sequence may hold. The planner gives the most that fits.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.min) || !has(self.max) || self.min <= self.max", "context.min must not be above context.max; lower min or raise max"))]
pub struct Context {
    /// The least that is useful: where not even this fits, the model is not
    /// placed. In tokens, such as 8192. Default: 4096, or max or the model's own
    /// context where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 16_777_216))]
    #[x_kube(validation = ("self >= 1", "context.min must be at least 1 token; leave it out for the default"))]
    pub min: Option<u32>,

    /// The most that is wanted, in tokens, such as 65536; not above the model's
    /// own context. Default: 16384, or min where that is more, or the model's own
    /// context where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 16_777_216))]
    #[x_kube(validation = ("self >= 1", "context.max must be at least 1 token; leave it out for the default"))]
    pub max: Option<u32>,
}

/// A context that the model can't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// A bound is zero.
    #[error("spec.context.{field}: 0: a context is at least 1 token; leave it out for the default")]
    Zero {
        /// `min` or `max`.
        field: &'static str,
    },
    /// The bounds cross.
    #[error("spec.context.min: {min}: above context.max, {max}; lower min or raise max")]
    Crossed {
        /// The lower bound.
        min: u32,
        /// The upper bound.
        max: u32,
    },
    /// A bound is above what the model was made for.
    #[error("spec.context.{field}: {value}: the model's own context is {own} tokens; ask for at most that")]
    OverModel {
        /// `min` or `max`.
        field: &'static str,
        /// What was asked.
        value: u32,
        /// What the file says.
        own: u32,
    },
}

impl Context {
    /// Where [`Context::min`] is left out.
    pub const DEFAULT_MIN: u32 = 4096;
    /// Where [`Context::max`] is left out.
    pub const DEFAULT_MAX: u32 = 16384;

    /// The bounds in force, `(min, max)`, for a model whose own context is `own` tokens.
    ///
    /// # Errors
    /// A bound is 0 or above `own`, or `min` is above `max`.
    pub fn bounds(&self, own: u32) -> Result<(u32, u32), ContextError> {
        for (field, value) in [("min", self.min), ("max", self.max)] {
            match value {
                Some(0) => return Err(ContextError::Zero { field }),
                Some(value) if value > own => return Err(ContextError::OverModel { field, value, own }),
                _ => {}
            }
        }
        let max = self.max.unwrap_or_else(|| Self::DEFAULT_MAX.max(self.min.unwrap_or(0)).min(own));
        let min = self.min.unwrap_or_else(|| Self::DEFAULT_MIN.min(max));
        if min > max { Err(ContextError::Crossed { min, max }) } else { Ok((min, max)) }
    }
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

    /// Whether machines outside the cluster may serve it: Allow or Deny.
    /// Default: Allow.
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

/// How a source is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A Hugging Face hub.
    Hf,
    /// A container registry.
    Oci,
    /// A web server.
    Https,
    /// An object store.
    S3,
    /// A volume claim.
    Pvc,
}

impl Scheme {
    /// All of them, with the word before `://`.
    pub const ALL: [(&'static str, Self); 5] =
        [("hf", Self::Hf), ("oci", Self::Oci), ("https", Self::Https), ("s3", Self::S3), ("pvc", Self::Pvc)];

    /// Whether this version fetches from there.
    #[must_use]
    pub const fn is_served(self) -> bool {
        match self {
            Self::Hf | Self::Https | Self::Pvc => true,
            Self::Oci | Self::S3 => false,
        }
    }
}

impl Source {
    /// The scheme of the URI; `None` if it has none that is known.
    #[must_use]
    pub fn scheme(&self) -> Option<Scheme> {
        let (word, _) = self.uri.split_once("://")?;
        Scheme::ALL.into_iter().find_map(|(name, scheme)| (name == word).then_some(scheme))
    }
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

const fn default_gpus() -> u32 {
    1
}

const fn default_load_timeout() -> Duration {
    Duration::from_mins(10)
}
