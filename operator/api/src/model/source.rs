//! Where a model's file comes from.

// KubeSchema repeats the structs inside functions, with their visibility.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// what the source asks for: key token (hf, https). The chart's
    /// source.secretNamespaces must list the namespace.
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
