//! Names, labels and owners of what the controller makes.

use std::collections::BTreeMap;

use hearth_api::Worker;
use hearth_api::meta::{FIELD_MANAGER, LABEL_WORKER};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;
use sha2::{Digest, Sha256};

const PREFIX: &str = "hearth-worker-";
/// The longest name of a Pod, a claim or a Secret.
const LONGEST_NAME: usize = 253;
/// The longest value of a label.
const LONGEST_LABEL: usize = 63;
const TLS_SUFFIX: &str = "-tls";

/// The objects by whose deletion everything else goes. A Worker in turn owns
/// what is made for it: see [`owner_of_children`].
#[derive(Debug, Clone)]
pub struct Owners {
    /// Of what lies in the release's namespace and belongs to no Worker: the
    /// controller's Deployment.
    pub namespaced: OwnerReference,
    /// Of Workers, which lie in no namespace: the chart's ClusterRole.
    pub cluster: OwnerReference,
}

/// The Worker as the owner of its Pod, its store's claim and its Secret: with it
/// they go, and its GPUs are free. `None` if it was never stored.
///
/// It is their controller too, so that draining the node takes the Pod for one
/// that is made again elsewhere or later.
pub fn owner_of_children(worker: &Worker) -> Option<OwnerReference> {
    worker.controller_owner_ref(&())
}

/// Whether a child still belongs to an earlier Worker of the same name, or is
/// about to go: then it is no child of `owner`, and its name is not free yet.
pub fn is_leftover(child: &ObjectMeta, owner: &OwnerReference) -> bool {
    let is_another = |other: &OwnerReference| other.kind == owner.kind && other.uid != owner.uid;
    child.deletion_timestamp.is_some() || child.owner_references.iter().flatten().any(is_another)
}

/// The name of a Worker's Pod and of its store's claim.
pub fn child_name(worker: &str) -> String {
    format!("{PREFIX}{}", shortened(worker, LONGEST_NAME - PREFIX.len() - TLS_SUFFIX.len()))
}

/// Whether a name may be that of a Worker's Pod or claim.
pub fn may_be_child(name: &str) -> bool {
    name.starts_with(PREFIX)
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn a_child_of_an_earlier_worker_of_the_name_is_a_leftover() {
        let worker = |uid: Option<&str>| {
            let mut worker = Worker::new("box", hearth_api::WorkerSpec::pod("box"));
            worker.metadata.uid = uid.map(str::to_owned);
            owner_of_children(&worker)
        };
        assert!(worker(None).is_none());
        let (old, new) = (worker(Some("1")).unwrap(), worker(Some("2")).unwrap());
        assert_eq!((new.kind.as_str(), new.controller), ("Worker", Some(true)));
        let child = |owner: &OwnerReference| ObjectMeta {
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        };
        assert!(is_leftover(&child(&old), &new));
        assert!(!is_leftover(&child(&new), &new));
        assert!(!is_leftover(&ObjectMeta::default(), &new), "one that a person made");
        let going = ObjectMeta { deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)), ..child(&new) };
        assert!(is_leftover(&going, &new));
    }

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
