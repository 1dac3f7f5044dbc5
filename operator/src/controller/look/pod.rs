//! A worker's Pod, as far as decisions need it.

use std::collections::BTreeMap;

use hearth_api::meta::ANNOTATION_TEMPLATE;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::pods::requested;

/// A worker's Pod, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its UID: what a deletion is about.
    pub uid: String,
    /// Where in its life it is.
    pub phase: PodPhase,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it should be gone, if it was told to end.
    pub ends: Option<Timestamp>,
    /// Whether its volumes and its network are there, where the kubelet says so.
    pub has_sandbox: Option<bool>,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// The hash of the template it was made from.
    pub template: Option<String>,
    /// How many GPUs it requests.
    pub gpus: u32,
    /// Devices that the kubelet calls unhealthy, with what it says.
    pub unhealthy: BTreeMap<String, String>,
}

/// Where in its life a Pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodPhase {
    /// The scheduler finds no place for it.
    Unschedulable {
        /// Since when.
        since: Timestamp,
        /// What the scheduler says.
        message: String,
    },
    /// It is bound or about to be, and does not run yet.
    Starting {
        /// What holds it up, if something does.
        waiting: Option<String>,
    },
    /// Its process runs.
    Running {
        /// Whether its readiness probe succeeds.
        ready: bool,
    },
    /// It ended and will not start again.
    Over {
        /// Why.
        message: String,
    },
    /// It was told to end.
    Ending,
}

impl PodView {
    /// What a Pod is to decisions. `resource`: the GPUs' extended resource.
    pub fn of(pod: &Pod, resource: &str) -> Self {
        let status = pod.status.as_ref();
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            phase: phase(pod),
            created: pod.creation_timestamp().map(|time| time.0),
            ends: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            has_sandbox: condition(pod, "PodReadyToStartContainers").map(|c| c.status == "True"),
            ip: status.and_then(|s| s.pod_ip.clone()).filter(|ip| !ip.is_empty()),
            template: pod.annotations().get(ANNOTATION_TEMPLATE).cloned(),
            gpus: requested(pod, resource),
            unhealthy: unhealthy(pod),
        }
    }

    /// Where its process serves, while it may do so.
    pub fn address(&self, port: i32) -> Option<String> {
        let ip = self.ip.as_ref()?;
        match self.phase {
            // An ending Pod finishes its requests, so it is still spoken to.
            PodPhase::Running { .. } | PodPhase::Ending => Some(match ip.contains(':') {
                true => format!("[{ip}]:{port}"),
                false => format!("{ip}:{port}"),
            }),
            PodPhase::Unschedulable { .. } | PodPhase::Starting { .. } | PodPhase::Over { .. } => None,
        }
    }
}

fn phase(pod: &Pod) -> PodPhase {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodPhase::Ending;
    }
    let Some(status) = &pod.status else { return PodPhase::Starting { waiting: None } };
    match status.phase.as_deref() {
        Some("Failed" | "Succeeded") => {
            let reason = status.reason.clone().unwrap_or_else(|| "Ended".to_owned());
            let message =
                status.message.as_deref().map_or(reason.clone(), |message| format!("{reason}: {message}"));
            PodPhase::Over { message }
        }
        Some("Running") => {
            PodPhase::Running { ready: condition(pod, "Ready").is_some_and(|c| c.status == "True") }
        }
        _ => match condition(pod, "PodScheduled") {
            Some(PodCondition { status, reason, message, last_transition_time, .. })
                if status == "False" && reason.as_deref() == Some("Unschedulable") =>
            {
                PodPhase::Unschedulable {
                    since: last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
                    message: message.clone().unwrap_or_default(),
                }
            }
            _ => PodPhase::Starting { waiting: waiting(status.container_statuses.iter().flatten()) },
        },
    }
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == name)
}

fn waiting<'a>(mut containers: impl Iterator<Item = &'a ContainerStatus>) -> Option<String> {
    containers.find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        // What every Pod goes through says nothing.
        (!matches!(reason, "ContainerCreating" | "PodInitializing")).then(|| match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        })
    })
}

/// What the kubelet tells of the devices that it handed out.
fn unhealthy(pod: &Pod) -> BTreeMap<String, String> {
    let containers = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let resources = containers.flat_map(|c| c.allocated_resources_status.iter().flatten());
    resources
        .flat_map(|resource| resource.resources.iter().flatten().map(move |device| (&resource.name, device)))
        .filter(|(_, device)| device.health.as_deref() == Some("Unhealthy"))
        .map(|(name, device)| {
            (device.resource_id.clone(), format!("the device plugin of {name} reports it unhealthy"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(status: serde_json::Value) -> PodView {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "hearth-worker-box", "uid": "1"},
            "spec": {"containers": [{"name": "worker", "resources": {"limits": {"nvidia.com/gpu": "2"}}}]},
            "status": status,
        }))
        .unwrap();
        PodView::of(&pod, "nvidia.com/gpu")
    }

    #[test]
    fn phases() {
        let view_of = |status| view(status).phase;
        assert_eq!(view_of(json!({})), PodPhase::Starting { waiting: None });
        assert_eq!(
            view_of(json!({"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/1 nodes are available", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})),
            PodPhase::Unschedulable {
                since: "2026-01-01T00:00:00Z".parse().unwrap(),
                message: "0/1 nodes are available".to_owned()
            }
        );
        assert_eq!(
            view_of(
                json!({"phase": "Pending", "containerStatuses": [{"name": "worker", "image": "", "imageID": "",
                "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]})
            ),
            PodPhase::Starting { waiting: Some("ErrImagePull: no such image".to_owned()) }
        );
        assert_eq!(
            view_of(
                json!({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no healthy devices"})
            ),
            PodPhase::Over { message: "UnexpectedAdmissionError: no healthy devices".to_owned() }
        );
    }

    #[test]
    fn devices_that_the_kubelet_calls_unhealthy_are_named() {
        let running = view(json!({"phase": "Running", "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "worker", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "allocatedResourcesStatus": [{"name": "nvidia.com/gpu", "resources": [
                    {"resourceID": "GPU-a", "health": "Healthy"},
                    {"resourceID": "GPU-b", "health": "Unhealthy"}]}]}]}));
        assert_eq!(running.phase, PodPhase::Running { ready: true });
        assert_eq!(running.unhealthy.keys().collect::<Vec<_>>(), ["GPU-b"]);
        assert_eq!(running.address(9090).as_deref(), Some("10.0.0.7:9090"));
        assert_eq!((running.gpus, running.has_sandbox), (2, None));
    }
}
