//! The worker Pod.

use std::collections::BTreeMap;

use hearth_api::meta::ANNOTATION_TEMPLATE;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSecurityContext,
    PodSpec, SeccompProfile,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use sha2::{Digest, Sha256};

use super::container::container;
use super::names::{child_name, hex, labels};
use super::volumes::volumes;
use crate::controller::config::Config;

/// The user and group of every process of Hearth.
const USER: i64 = 65_532;

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
    /// Bytes that model files may take.
    pub store_bytes: u64,
    /// What the Pod is removed with: its Worker.
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
            store_bytes: 200 << 30,
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
