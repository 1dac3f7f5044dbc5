//! Secrets with certificates.

use std::collections::BTreeMap;

use hearth_api::meta::FIELD_MANAGER;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

/// The name of the authority's Secret.
pub const AUTHORITY_SECRET: &str = "hearth-ca";

/// The authority's Secret. It has no owner: it outlives the release, because
/// machines outside the cluster trust it.
pub fn authority_secret(namespace: &str, data: BTreeMap<String, ByteString>) -> Secret {
    secret(namespace, AUTHORITY_SECRET, data, "authority", BTreeMap::new(), None)
}

/// The Secret of one process's certificate.
pub fn leaf_secret(
    namespace: &str,
    name: &str,
    labels: BTreeMap<String, String>,
    data: BTreeMap<String, ByteString>,
    owner: &OwnerReference,
) -> Secret {
    secret(namespace, name, data, "certificate", labels, Some(owner.clone()))
}

fn secret(
    namespace: &str,
    name: &str,
    data: BTreeMap<String, ByteString>,
    component: &str,
    mut labels: BTreeMap<String, String>,
    owner: Option<OwnerReference>,
) -> Secret {
    labels.insert("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned());
    labels.insert("app.kubernetes.io/part-of".to_owned(), "hearth".to_owned());
    labels.insert("app.kubernetes.io/component".to_owned(), component.to_owned());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    }
}
