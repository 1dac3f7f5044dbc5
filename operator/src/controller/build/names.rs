//! Names, labels and owners of what the controller makes.

use std::collections::BTreeMap;

use hearth_api::meta::{FIELD_MANAGER, LABEL_WORKER};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use sha2::{Digest, Sha256};

const PREFIX: &str = "hearth-worker-";
/// The longest name of a Pod, a claim or a Secret.
const LONGEST_NAME: usize = 253;
/// The longest value of a label.
const LONGEST_LABEL: usize = 63;
const TLS_SUFFIX: &str = "-tls";

/// The objects by whose deletion everything else goes.
#[derive(Debug, Clone)]
pub struct Owners {
    /// Of what lies in the release's namespace: the controller's Deployment.
    pub namespaced: OwnerReference,
    /// Of what lies in none: the chart's ClusterRole.
    pub cluster: OwnerReference,
}

/// The name of a Worker's Pod and of its store's claim.
pub fn child_name(worker: &str) -> String {
    format!("{PREFIX}{}", shortened(worker, LONGEST_NAME - PREFIX.len() - TLS_SUFFIX.len()))
}

/// The name of the Secret with a Worker's certificate.
pub fn tls_secret_name(worker: &str) -> String {
    format!("{}{TLS_SUFFIX}", child_name(worker))
}

/// The labels of what belongs to a Worker.
pub fn labels(instance: &str, worker: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "hearth-worker".to_owned()),
        ("app.kubernetes.io/instance".to_owned(), instance.to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned()),
        ("app.kubernetes.io/part-of".to_owned(), "hearth".to_owned()),
        (LABEL_WORKER.to_owned(), label_value(worker)),
    ])
}

/// The value of the label [`LABEL_WORKER`] for a Worker's name.
fn label_value(worker: &str) -> String {
    shortened(worker, LONGEST_LABEL)
}

/// `name` if it is short enough, else its beginning with a hash of all of it.
fn shortened(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let hash = hex(&Sha256::digest(name.as_bytes())[..8]);
    let mut end = longest - hash.len() - 1;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", name[..end].trim_end_matches(['-', '.']))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_distinct() {
        assert_eq!(child_name("box"), "hearth-worker-box");
        assert_eq!(tls_secret_name("box"), "hearth-worker-box-tls");
        let long = format!("{}.example.com", "n".repeat(240));
        let other = format!("{}.example.org", "n".repeat(240));
        assert!(tls_secret_name(&long).len() <= LONGEST_NAME);
        assert_ne!(child_name(&long), child_name(&other));
        assert!(label_value(&long).len() <= LONGEST_LABEL);
        assert_ne!(label_value(&long), label_value(&other));
    }
}
