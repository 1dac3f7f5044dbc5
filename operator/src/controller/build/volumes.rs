//! What the worker's container finds mounted.

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::names::{child_name, tls_secret_name};
use super::pod::PodPlan;
use crate::controller::config::Config;

/// Where additional certificate authorities are mounted.
pub(super) const EXTRA_CA: &str = "/etc/hearth/extra-ca";

/// Whether additional certificate authorities are given.
pub(super) fn has_extra_ca(config: &Config) -> bool {
    config.worker.extra_ca.secret.is_some() || config.worker.extra_ca.config_map.is_some()
}

/// The Pod's volumes.
pub(super) fn volumes(plan: &PodPlan<'_>, config: &Config) -> Vec<Volume> {
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

/// Where the container finds them.
pub(super) fn mounts(config: &Config) -> Vec<VolumeMount> {
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
        mounts.push(mount("extra-ca", EXTRA_CA.to_owned(), true));
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
