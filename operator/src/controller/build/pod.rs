//! The worker Pod.

use std::collections::BTreeMap;

use hearth_api::meta::ANNOTATION_TEMPLATE;
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction,
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolumeClaimVolumeSource,
    Pod, PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use sha2::{Digest, Sha256};

use super::names::{child_name, hex, labels, tls_secret_name};
use crate::controller::config::Config;

/// The user and group of every process of Hearth.
const USER: i64 = 65_532;
/// Port of the worker's gRPC services, with TLS.
pub const GRPC_PORT: i32 = 9090;
/// Of the Pod's grace period, what is not for running requests.
const LAST_WORDS_SECONDS: i64 = 5;
/// Port of the worker's probes and metrics.
const HTTP_PORT: i32 = 9091;

/// What a worker Pod holds of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// This many of an extended resource.
    Gpus {
        /// The resource's name.
        resource: String,
        /// How many; never 0.
        count: u32,
    },
    /// CPU and memory, as the chart says.
    Cpu,
}

/// A worker Pod, decided in every respect.
#[derive(Debug, Clone)]
pub struct PodPlan<'a> {
    /// The Worker.
    pub worker: &'a str,
    /// The node that it must run on.
    pub node: &'a str,
    /// The namespace of the release.
    pub namespace: &'a str,
    /// What it holds of the node.
    pub holds: &'a Holds,
    /// The RuntimeClass to name.
    pub runtime_class: Option<&'a str>,
    /// Bytes a device that are left to others.
    pub reserve_bytes: u64,
    /// What the Pod is removed with.
    pub owner: &'a OwnerReference,
}

/// The Pod, with the hash of its template.
pub fn worker_pod(plan: &PodPlan<'_>, config: &Config) -> Pod {
    let hash = template_hash(plan, config);
    let mut pod = unhashed(plan, config);
    pod.metadata.annotations = Some(BTreeMap::from([(ANNOTATION_TEMPLATE.to_owned(), hash)]));
    pod
}

/// Tells whether a running Pod is what would be made today. The number of GPUs
/// is left out: it follows what others hold, and a Pod is not rolled for it.
pub fn template_hash(plan: &PodPlan<'_>, config: &Config) -> String {
    let uncounted = match plan.holds {
        Holds::Gpus { resource, .. } => Holds::Gpus { resource: resource.clone(), count: 0 },
        Holds::Cpu => Holds::Cpu,
    };
    let pod = unhashed(&PodPlan { holds: &uncounted, ..plan.clone() }, config);
    // Maps are ordered and the types are plain data, so this cannot fail and
    // the same template always gives the same text.
    let text = serde_json::to_vec(&pod.spec).unwrap_or_default();
    hex(&Sha256::digest(text)[..8])
}

fn unhashed(plan: &PodPlan<'_>, config: &Config) -> Pod {
    Pod {
        metadata: ObjectMeta {
            name: Some(child_name(plan.worker)),
            namespace: Some(plan.namespace.to_owned()),
            labels: Some(labels(&config.instance, plan.worker)),
            owner_references: Some(vec![plan.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            affinity: Some(on_node(plan.node)),
            automount_service_account_token: Some(false),
            containers: vec![container(plan, config)],
            enable_service_links: Some(false),
            image_pull_secrets: (!config.image_pull_secrets.is_empty())
                .then(|| config.image_pull_secrets.clone()),
            restart_policy: Some("Always".to_owned()),
            runtime_class_name: plan.runtime_class.map(str::to_owned),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                // A store of many gigabytes is not walked at each start.
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            service_account_name: Some("hearth-worker".to_owned()),
            termination_grace_period_seconds: Some(config.worker.termination_grace_period_seconds),
            tolerations: (!config.worker.tolerations.is_empty()).then(|| config.worker.tolerations.clone()),
            volumes: Some(volumes(plan, config)),
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// Ties the Pod to a node, and leaves the binding to the scheduler, so that
/// what the node has is still counted.
fn on_node(node: &str) -> Affinity {
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_fields: Some(vec![NodeSelectorRequirement {
                        key: "metadata.name".to_owned(),
                        operator: "In".to_owned(),
                        values: Some(vec![node.to_owned()]),
                    }]),
                    ..NodeSelectorTerm::default()
                }],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn container(plan: &PodPlan<'_>, config: &Config) -> Container {
    let probe = |path: &str, period, failures| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(3),
        ..Probe::default()
    };
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: "worker".to_owned(),
        image: Some(config.worker.image.clone()),
        image_pull_policy: Some(config.worker.pull_policy.clone()),
        args: Some(vec!["serve".to_owned()]),
        env: Some(env(plan, config)),
        ports: Some(vec![port("grpc", GRPC_PORT), port("http", HTTP_PORT)]),
        startup_probe: Some(probe("/healthz", 1, 120)),
        // An engine at work may keep both cores of a small machine for long.
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        resources: Some(resources(plan.holds, config)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts(config)),
        ..Container::default()
    }
}

fn env(plan: &PodPlan<'_>, config: &Config) -> Vec<EnvVar> {
    let var =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    let mut vars = vec![
        var("HEARTH_WORKER_NAME", plan.worker.to_owned()),
        var("HEARTH_COMPUTE", config.worker.compute.as_str().to_owned()),
        var("HEARTH_RESERVE_BYTES", plan.reserve_bytes.to_string()),
        var("HEARTH_LOG", config.worker.log.clone()),
    ];
    // Requests end within what the kubelet grants; the rest is for unloading.
    let drain = (config.worker.termination_grace_period_seconds - LAST_WORDS_SECONDS).max(1);
    vars.push(var("HEARTH_DRAIN_TIMEOUT", format!("{drain}s")));
    if matches!(plan.holds, Holds::Gpus { .. }) {
        // Without `utility` the container runtime hides NVML, by which devices are read.
        vars.push(var("NVIDIA_DRIVER_CAPABILITIES", "compute,utility".to_owned()));
    }
    if !config.worker.simulated_devices.is_empty() {
        let devices = serde_json::Value::Array(config.worker.simulated_devices.clone());
        vars.push(var("HEARTH_SIMULATED_DEVICES", devices.to_string()));
    }
    if config.source.allow_private {
        vars.push(var("HEARTH_ALLOW_PRIVATE", "true".to_owned()));
    }
    if has_extra_ca(config) {
        vars.push(var("HEARTH_EXTRA_CA", "/etc/hearth/extra-ca/ca.crt".to_owned()));
    }
    vars
}

fn resources(holds: &Holds, config: &Config) -> ResourceRequirements {
    match holds {
        Holds::Gpus { resource, count } => {
            let mut resources = config.worker.resources.clone();
            // The request of an extended resource follows its limit.
            resources.limits.get_or_insert_default().insert(resource.clone(), Quantity(count.to_string()));
            resources
        }
        Holds::Cpu => ResourceRequirements {
            requests: Some(BTreeMap::from([
                ("cpu".to_owned(), config.cpu.cpu.clone()),
                ("memory".to_owned(), (&config.cpu.memory).into()),
            ])),
            limits: Some(BTreeMap::from([("memory".to_owned(), (&config.cpu.memory).into())])),
            ..ResourceRequirements::default()
        },
    }
}

fn has_extra_ca(config: &Config) -> bool {
    config.worker.extra_ca.secret.is_some() || config.worker.extra_ca.config_map.is_some()
}

fn volumes(plan: &PodPlan<'_>, config: &Config) -> Vec<Volume> {
    let named = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let claim = |name: &str, read_only| PersistentVolumeClaimVolumeSource {
        claim_name: name.to_owned(),
        read_only: Some(read_only),
    };
    let scratch = |size: &str| EmptyDirVolumeSource {
        size_limit: Some(Quantity(size.to_owned())),
        ..EmptyDirVolumeSource::default()
    };
    let mut volumes = vec![
        Volume { persistent_volume_claim: Some(claim(&child_name(plan.worker), false)), ..named("state") },
        Volume {
            secret: Some(SecretVolumeSource {
                secret_name: Some(tls_secret_name(plan.worker)),
                ..SecretVolumeSource::default()
            }),
            ..named("tls")
        },
        Volume { empty_dir: Some(scratch("16Mi")), ..named("run") },
        Volume { empty_dir: Some(scratch("1Gi")), ..named("tmp") },
    ];
    if has_extra_ca(config) {
        volumes.push(Volume {
            secret: config.worker.extra_ca.secret.clone(),
            config_map: config.worker.extra_ca.config_map.clone(),
            ..named("extra-ca")
        });
    }
    for (n, name) in config.model_claims.iter().enumerate() {
        volumes.push(Volume { persistent_volume_claim: Some(claim(name, true)), ..named(&claim_volume(n)) });
    }
    volumes
}

fn mounts(config: &Config) -> Vec<VolumeMount> {
    let mount = |name: &str, path: String, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path,
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount("state", "/var/lib/hearth".to_owned(), false),
        mount("tls", "/etc/hearth/tls".to_owned(), true),
        mount("run", "/run/hearth".to_owned(), false),
        mount("tmp", "/tmp".to_owned(), false),
    ];
    if has_extra_ca(config) {
        mounts.push(mount("extra-ca", "/etc/hearth/extra-ca".to_owned(), true));
    }
    for (n, name) in config.model_claims.iter().enumerate() {
        mounts.push(mount(&claim_volume(n), format!("/claims/{name}"), true));
    }
    mounts
}

/// A volume's name: a claim's own may be longer than a volume's may.
fn claim_volume(index: usize) -> String {
    format!("claim-{index}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::config::tests::example;

    fn owner() -> OwnerReference {
        OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: "hearth-controller".to_owned(),
            uid: "0000".to_owned(),
            ..OwnerReference::default()
        }
    }

    fn plan<'a>(holds: &'a Holds, owner: &'a OwnerReference) -> PodPlan<'a> {
        PodPlan {
            worker: "box",
            node: "box",
            namespace: "hearth",
            holds,
            runtime_class: Some("nvidia"),
            reserve_bytes: 1 << 30,
            owner,
        }
    }

    fn gpus(count: u32) -> Holds {
        Holds::Gpus { resource: "nvidia.com/gpu".to_owned(), count }
    }

    #[test]
    fn a_pod_with_gpus() {
        let (owner, holds) = (owner(), gpus(2));
        insta::assert_yaml_snapshot!(worker_pod(&plan(&holds, &owner), &example()));
    }

    #[test]
    fn a_pod_on_a_cpu_with_everything_that_can_be_added() {
        let mut config = example();
        config.model_claims = vec!["models.large".to_owned()];
        config.source.allow_private = true;
        config.worker.extra_ca.config_map = Some(k8s_openapi::api::core::v1::ConfigMapVolumeSource {
            name: "my-ca".to_owned(),
            ..Default::default()
        });
        config.worker.simulated_devices = vec![serde_json::json!({"uuid": "SIM-0"})];
        let owner = owner();
        let plan = PodPlan { runtime_class: None, ..plan(&Holds::Cpu, &owner) };
        insta::assert_yaml_snapshot!(worker_pod(&plan, &config));
    }

    #[test]
    fn the_hash_follows_the_template_but_not_the_number_of_gpus() {
        let (owner, one, two) = (owner(), gpus(1), gpus(2));
        let config = example();
        let hash = template_hash(&plan(&one, &owner), &config);
        assert_eq!(hash, template_hash(&plan(&two, &owner), &config));
        let mut other = example();
        other.worker.image.push('x');
        assert_ne!(hash, template_hash(&plan(&one, &owner), &other));
    }
}
