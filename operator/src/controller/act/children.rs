//! Carries a decision out: Workers, Pods, claims and Secrets.

use std::collections::{BTreeMap, BTreeSet};

use hearth_api::Worker;
use hearth_api::meta::GATEWAY_SECRET;
use hearth_api::worker::WorkerSpec;
use hearth_tls::Identity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use tracing::{info, warn};

use super::authority::{Certificates, CertificatesError};
use super::hands::Hands;
use crate::controller::build::{
    PodPlan, child_name, is_leftover, labels, owner_of_children, store_claim, tls_secret_name, worker_pod,
};
use crate::controller::decide::{Decision, Ground, MachineDecision, PodAction};
use crate::controller::look::{Snapshot, capacity};

/// Something of a decision could not be carried out. What remains is tried
/// again in the next round.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A Worker could not be made.
    #[error("making Worker {0}")]
    Worker(String, #[source] kube::Error),
    /// A certificate could not be signed.
    #[error("signing the certificate of {0}")]
    Sign(String, #[source] CertificatesError),
    /// A certificate could not be stored.
    #[error("storing the certificate of {0}")]
    Secret(String, #[source] kube::Error),
    /// A store's claim could not be made.
    #[error("making the store's claim of {0}")]
    Claim(String, #[source] kube::Error),
    /// A Pod could not be made.
    #[error("making the Pod of {0}")]
    Pod(String, #[source] kube::Error),
    /// A Pod could not be deleted.
    #[error("deleting the Pod of {0}")]
    Delete(String, #[source] kube::Error),
}

/// Carries a decision out as far as the cluster is concerned. What fails does
/// not keep the rest from being done.
pub async fn act(
    decision: &Decision<'_>,
    snapshot: &Snapshot,
    ground: &Ground,
    certificates: &Certificates,
    hands: &Hands,
) -> Vec<ActError> {
    let mut errors = Vec::new();
    // First, for without it the gateway answers nobody.
    let leaf = Leaf {
        identity: Identity::Gateway,
        secret: GATEWAY_SECRET,
        labels: BTreeMap::new(),
        owner: &ground.owners.namespaced,
    };
    let gateway = certify(leaf, snapshot, ground, certificates, hands).await;
    errors.extend(gateway.err());
    for worker in missing_workers(snapshot, ground) {
        info!(worker = worker.name_any(), "a node that can serve: its Worker is made");
        if let Err(error) = hands.create_worker(&worker).await {
            errors.push(ActError::Worker(worker.name_any(), error));
        }
    }
    for machine in &decision.machines {
        if let Err(error) = act_on(machine, snapshot, ground, certificates, hands).await {
            errors.push(error);
        }
    }
    errors
}

/// Workers of nodes that can serve and have none.
fn missing_workers(snapshot: &Snapshot, ground: &Ground) -> Vec<Worker> {
    let config = &ground.config;
    let has_worker: BTreeSet<&str> =
        snapshot.workers.values().filter_map(|worker| worker.spec.node_name.as_deref()).collect();
    let can_serve = |name: &str| {
        let node = snapshot.nodes.get(name);
        let has_gpus = node.is_some_and(|node| capacity(node, &config.worker.resource_name) > 0);
        has_gpus || (node.is_some() && config.cpu_nodes.iter().any(|node| node == name))
    };
    let nodes = snapshot.nodes.keys().filter(|name| !has_worker.contains(name.as_str()) && can_serve(name));
    nodes
        .map(|node| Worker {
            metadata: ObjectMeta {
                name: Some(node.clone()),
                owner_references: Some(vec![ground.owners.cluster.clone()]),
                labels: Some(labels(&config.instance, node)),
                ..ObjectMeta::default()
            },
            spec: WorkerSpec {
                resource_name: config.worker.resource_name.clone(),
                release: config.release,
                reserve: config.worker.reserve.clone(),
                store: config.worker.store.clone(),
                ..WorkerSpec::pod(node)
            },
            status: None,
        })
        .collect()
}

async fn act_on(
    decision: &MachineDecision<'_>,
    snapshot: &Snapshot,
    ground: &Ground,
    certificates: &Certificates,
    hands: &Hands,
) -> Result<(), ActError> {
    let name = decision.name;
    let worker = decision.machine.worker;
    let spec = &worker.spec;
    let Some(owner) = owner_of_children(worker) else { return Ok(()) };
    let starts = matches!(decision.action, PodAction::Create(_));
    if decision.machine.pod.is_some() || starts {
        match Identity::worker(name) {
            Ok(identity) => {
                let leaf = Leaf {
                    identity,
                    secret: &tls_secret_name(name),
                    labels: labels(&ground.config.instance, name),
                    owner: &owner,
                };
                certify(leaf, snapshot, ground, certificates, hands).await?;
            }
            Err(error) => warn!(worker = name, %error, "no certificate: the name cannot be in one"),
        }
    }
    match &decision.action {
        PodAction::Leave | PodAction::Blocked { .. } => Ok(()),
        PodAction::Delete { why } => {
            let Some(pod) = &decision.machine.pod else { return Ok(()) };
            info!(worker = name, pod = pod.name, why, "the worker Pod is deleted");
            hands
                .delete_pod(&pod.name, &pod.uid)
                .await
                .map_err(|error| ActError::Delete(name.to_owned(), error))
        }
        // What is made for a Worker that is being deleted would go at once.
        PodAction::Create(_) if worker.metadata.deletion_timestamp.is_some() => Ok(()),
        PodAction::Create(holds) => {
            match snapshot.claims.get(&child_name(name)) {
                // A Pod that mounts it would hold it up. Its end begins another round.
                Some(claim) if is_leftover(&claim.metadata, &owner) => {
                    info!(worker = name, "the store of an earlier Worker of this name is still going");
                    return Ok(());
                }
                Some(_) => {}
                None => {
                    let instance = &ground.config.instance;
                    let claim = store_claim(instance, &ground.namespace, name, &spec.store, &owner);
                    hands.create(&claim).await.map_err(|error| ActError::Claim(name.to_owned(), error))?;
                }
            }
            let plan = PodPlan {
                worker: name,
                node: spec.node_name.as_deref().unwrap_or(name),
                namespace: &ground.namespace,
                holds,
                runtime_class: decision.runtime_class.as_deref(),
                reserve_bytes: spec.reserve.bytes(),
                store_bytes: spec.store.size.bytes(),
                owner: &owner,
            };
            info!(worker = name, ?holds, "the worker Pod is made");
            let pod = worker_pod(&plan, &ground.config);
            hands.create(&pod).await.map_err(|error| ActError::Pod(name.to_owned(), error))
        }
    }
}

/// A certificate that shall lie in a Secret.
struct Leaf<'a> {
    identity: Identity,
    secret: &'a str,
    labels: BTreeMap<String, String>,
    owner: &'a OwnerReference,
}

/// Stores a certificate if the one that is there is missing or due.
async fn certify(
    leaf: Leaf<'_>,
    snapshot: &Snapshot,
    ground: &Ground,
    certificates: &Certificates,
    hands: &Hands,
) -> Result<(), ActError> {
    let Leaf { identity, secret, labels, owner } = leaf;
    let there = snapshot.secrets.get(secret).map(AsRef::as_ref);
    let made = certificates
        .leaf(&identity, there, &ground.namespace, secret, labels, owner)
        .map_err(|error| ActError::Sign(identity.to_string(), error))?;
    match made {
        Some(secret) => {
            info!(%identity, "a certificate is signed");
            hands.apply(&secret).await.map_err(|error| ActError::Secret(identity.to_string(), error))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
