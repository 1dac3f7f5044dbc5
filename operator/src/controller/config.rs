//! The controller's configuration: one JSON document, written by the chart.

use std::path::Path;

use hearth_api::Quantity;
use hearth_api::worker::{Release, Store};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, LocalObjectReference, ResourceRequirements, SecretVolumeSource, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource;
use serde::Deserialize;

/// Everything the chart says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The Helm release: the `app.kubernetes.io/instance` of what we make.
    pub instance: String,
    /// Credentials for the image registry.
    #[serde(default)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The worker Pod.
    pub worker: WorkerConfig,
    /// Nodes that serve with their CPU.
    #[serde(default)]
    pub cpu_nodes: Vec<String>,
    /// The size of a worker Pod on one of them.
    pub cpu: CpuConfig,
    /// When idle machines give their GPUs back, for Workers that the controller makes.
    pub release: Release,
    /// PersistentVolumeClaims with model files.
    #[serde(default)]
    pub model_claims: Vec<String>,
    /// Where model files may come from.
    pub source: SourceConfig,
}

/// The worker Pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerConfig {
    /// The image, with its tag.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// The log filter.
    pub log: String,
    /// What engine processes compute on.
    pub compute: Compute,
    /// Devices of a simulated worker, passed on as they are.
    #[serde(default)]
    pub simulated_devices: Vec<serde_json::Value>,
    /// The extended resource by which a node offers GPUs.
    pub resource_name: String,
    /// Which RuntimeClass Pods with GPUs name.
    pub runtime_class_name: RuntimeClassChoice,
    /// Bytes a device that are left to others.
    pub reserve: Quantity,
    /// The model store's claim, for Workers that the controller makes.
    pub store: Store,
    /// CPU and memory of a Pod with GPUs.
    #[serde(default)]
    pub resources: ResourceRequirements,
    /// Tolerations of worker Pods.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// Seconds that running requests have to end.
    pub termination_grace_period_seconds: i64,
    /// Additional certificate authorities for sources.
    #[serde(default, rename = "extraCA")]
    pub extra_ca: ExtraCa,
}

/// What engine processes compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Compute {
    /// The devices that were found.
    Auto,
    /// The CPU, whatever devices there are.
    Cpu,
    /// Nothing: answers are made up.
    Simulated,
}

impl Compute {
    /// As the worker's flag spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::Cpu => "Cpu",
            Self::Simulated => "Simulated",
        }
    }
}

/// Which RuntimeClass Pods with GPUs name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum RuntimeClassChoice {
    /// `nvidia` where such a class exists, else none.
    Auto,
    /// None.
    None,
    /// This one.
    Named(String),
}

impl From<String> for RuntimeClassChoice {
    fn from(text: String) -> Self {
        match text.as_str() {
            "auto" => Self::Auto,
            "" => Self::None,
            _ => Self::Named(text),
        }
    }
}

/// Where additional certificate authorities are: a volume with a `ca.crt`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtraCa {
    /// In a Secret.
    #[serde(default)]
    pub secret: Option<SecretVolumeSource>,
    /// In a ConfigMap.
    #[serde(default)]
    pub config_map: Option<ConfigMapVolumeSource>,
}

/// The size of a worker Pod that serves with the CPU.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuConfig {
    /// Memory, request and limit.
    pub memory: Quantity,
    /// CPU request.
    pub cpu: resource::Quantity,
}

/// Where model files may come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceConfig {
    /// Whether private, link-local and loopback addresses may be read from.
    #[serde(default)]
    pub allow_private: bool,
    /// Where `hf://` is resolved; empty: the public hub.
    #[serde(default)]
    pub hub_endpoint: String,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what the chart writes.
    #[error("reading the configuration in {path}")]
    Parse {
        /// The file.
        path: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When there is no such file or it is not what the chart writes.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = || path.display().to_string();
        let text = std::fs::read(path).map_err(|source| ConfigError::Read { path: name(), source })?;
        serde_json::from_slice(&text).map_err(|source| ConfigError::Parse { path: name(), source })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What the chart writes for its default values.
    pub(crate) fn example() -> Config {
        serde_json::from_value(serde_json::json!({
            "instance": "hearth",
            "imagePullSecrets": [],
            "worker": {
                "image": "example.com/hearth-worker:0.1.0",
                "pullPolicy": "IfNotPresent",
                "log": "info",
                "compute": "Auto",
                "simulatedDevices": [],
                "resourceName": "nvidia.com/gpu",
                "runtimeClassName": "auto",
                "reserve": "1Gi",
                "store": {"size": "200Gi"},
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {}},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "terminationGracePeriodSeconds": 60,
                "extraCA": {}
            },
            "cpuNodes": [],
            "cpu": {"memory": "8Gi", "cpu": "1"},
            "release": {"policy": "WhenIdle", "after": "30m"},
            "modelClaims": [],
            "source": {"allowPrivate": false, "hubEndpoint": ""}
        }))
        .unwrap()
    }

    #[test]
    fn the_chart_s_document_is_read() {
        let config = example();
        assert_eq!(config.release.after.as_secs(), 30 * 60);
        assert_eq!(config.worker.runtime_class_name, RuntimeClassChoice::Auto);
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let error = serde_json::from_str::<SourceConfig>(r#"{"allowPrivat":true}"#).unwrap_err();
        assert!(error.to_string().contains("allowPrivat"), "{error}");
    }
}
