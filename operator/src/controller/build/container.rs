//! The worker's container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, Probe, ResourceRequirements,
    SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::{Holds, PodPlan};
use super::volumes::{EXTRA_CA, has_extra_ca, mounts};
use crate::controller::config::Config;

/// Port of the worker's gRPC services, with TLS.
pub const GRPC_PORT: i32 = 9090;
/// Port of the worker's probes and metrics.
const HTTP_PORT: i32 = 9091;
/// Of the Pod's grace period, what is not for running requests: the worker's own last
/// words, which take 9 s at the most, and the time until it hears of its end.
const LAST_WORDS_SECONDS: i64 = 10;

/// The container.
pub(super) fn container(plan: &PodPlan<'_>, config: &Config) -> Container {
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
        var("HEARTH_STORE_BYTES", plan.store_bytes.to_string()),
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
        vars.push(var("HEARTH_EXTRA_CA", format!("{EXTRA_CA}/ca.crt")));
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
