//! Between the Lease object and what election knows of it.

use hearth_api::meta::{ANNOTATION_ADDRESS, ANNOTATION_EPOCH, CONTROLLER_LEASE};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;

use super::election::{Claim, Record, Timing};

/// What election needs to know of a Lease.
pub(super) fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let annotations = lease.metadata.annotations.as_ref();
    Record {
        holder: spec.and_then(|s| s.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        epoch: annotations
            .and_then(|a| a.get(ANNOTATION_EPOCH))
            .and_then(|epoch| epoch.parse().ok())
            .unwrap_or(0),
        transitions: spec.and_then(|s| s.lease_transitions).unwrap_or(0),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// Who writes the Lease.
pub(super) struct Writer<'a> {
    pub identity: &'a str,
    pub address: &'a str,
    pub namespace: &'a str,
    pub owner: &'a OwnerReference,
    pub timing: Timing,
}

impl Writer<'_> {
    /// The Lease after `claim`, based on `before`. The times are for people:
    /// no process of ours reads them.
    pub(super) fn claimed(&self, before: Option<&Lease>, claim: &Claim, now: Timestamp) -> Lease {
        let mut lease = before.cloned().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        if claim.acquires {
            spec.acquire_time = Some(MicroTime(now));
        }
        spec.renew_time = Some(MicroTime(now));
        spec.holder_identity = Some(self.identity.to_owned());
        spec.lease_duration_seconds = Some(i32::try_from(self.timing.lease.as_secs()).unwrap_or(i32::MAX));
        spec.lease_transitions = Some(claim.transitions);
        let metadata = &mut lease.metadata;
        self.describe(metadata);
        metadata.resource_version.clone_from(&claim.replaces);
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION_EPOCH.to_owned(), claim.epoch.to_string());
        annotations.insert(ANNOTATION_ADDRESS.to_owned(), self.address.to_owned());
        lease
    }

    fn describe(&self, metadata: &mut ObjectMeta) {
        metadata.name = Some(CONTROLLER_LEASE.to_owned());
        metadata.namespace = Some(self.namespace.to_owned());
        metadata.owner_references = Some(vec![self.owner.clone()]);
        let labels = metadata.labels.get_or_insert_default();
        labels.insert("app.kubernetes.io/part-of".to_owned(), "hearth".to_owned());
        labels.insert("app.kubernetes.io/managed-by".to_owned(), "hearth".to_owned());
    }
}

/// The Lease given back: without a holder, so that the next leader waits for
/// nothing; the epoch stays, so that it only grows.
pub(super) fn released(before: &Lease) -> Lease {
    let mut lease = before.clone();
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    if let Some(annotations) = &mut lease.metadata.annotations {
        annotations.remove(ANNOTATION_ADDRESS);
    }
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> OwnerReference {
        OwnerReference { name: "hearth-controller".to_owned(), uid: "u".to_owned(), ..Default::default() }
    }

    #[test]
    fn what_is_written_reads_back() {
        let owner = owner();
        let writer = Writer {
            identity: "pod-a",
            address: "10.0.0.1:9092",
            namespace: "hearth",
            owner: &owner,
            timing: Timing::default(),
        };
        let claim = Claim { replaces: Some("5".to_owned()), acquires: true, epoch: 3, transitions: 2 };
        let lease = writer.claimed(None, &claim, Timestamp::UNIX_EPOCH);
        let read = record(&lease);
        assert_eq!(
            read,
            Record {
                holder: Some("pod-a".to_owned()),
                epoch: 3,
                transitions: 2,
                resource_version: "5".to_owned()
            }
        );
        let given_back = record(&released(&lease));
        assert_eq!((given_back.holder, given_back.epoch), (None, 3));
    }

    #[test]
    fn a_lease_that_someone_emptied_is_a_free_one() {
        let read = record(&Lease::default());
        assert_eq!((read.holder, read.epoch), (None, 0));
    }
}
