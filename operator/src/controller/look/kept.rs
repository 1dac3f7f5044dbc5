//! What the caches keep of an object. The rest is neither memory nor news.

use std::fmt::Debug;

use hearth_api::{ServedModel, Worker};
use k8s_openapi::api::core::v1::{
    Container, Node, NodeSpec, NodeStatus, PersistentVolumeClaim, Pod, PodSpec, PodStatus,
    ResourceRequirements, Secret,
};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::controller::build::may_be_child;

/// An object that is read of the cluster.
pub(super) trait Kept:
    Resource<DynamicType = ()> + Clone + Debug + PartialEq + DeserializeOwned + Send + Sync + 'static
{
    /// Drops what no decision reads. `ours`: the namespace of the release.
    fn shrink(&mut self, _ours: &str) {}

    /// Whether anything is left that a decision reads.
    fn is_read(&self) -> bool {
        true
    }
}

/// Drops what is not read of anything: who wrote it and how often.
pub(super) fn shrink<K: Kept>(object: &mut K, ours: &str) {
    object.managed_fields_mut().clear();
    object.meta_mut().resource_version = None;
    object.shrink(ours);
}

impl Kept for ServedModel {}
impl Kept for Worker {}
impl Kept for PersistentVolumeClaim {}
impl Kept for Secret {}
impl Kept for RuntimeClass {}

impl Kept for Node {
    /// Keeps whether it takes Pods, and what it offers them.
    fn shrink(&mut self, _: &str) {
        self.metadata.annotations = None;
        let unschedulable = self.spec.take().and_then(|spec| spec.unschedulable);
        self.spec = Some(NodeSpec { unschedulable, ..NodeSpec::default() });
        self.status = self.status.take().map(|NodeStatus { capacity, allocatable, .. }| NodeStatus {
            capacity,
            allocatable,
            ..NodeStatus::default()
        });
    }
}

impl Kept for Pod {
    /// Keeps of our own what it was made of and how it is; of any other, which extended
    /// resources it holds on which node.
    fn shrink(&mut self, ours: &str) {
        let is_ours = self.namespace().as_deref() == Some(ours) && may_be_child(&self.name_any());
        if is_ours {
            let Some(spec) = &mut self.spec else { return };
            spec.volumes = None;
            for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
                container.args = None;
                container.command = None;
                container.env = None;
                container.env_from = None;
                container.volume_mounts = None;
            }
            return;
        }
        let ObjectMeta { name, namespace, uid, .. } = std::mem::take(&mut self.metadata);
        self.metadata = ObjectMeta { name, namespace, uid, ..ObjectMeta::default() };
        self.spec = self.spec.take().and_then(holding);
        let phase = self.status.take().and_then(|status| status.phase);
        self.status = self.spec.is_some().then(|| PodStatus { phase, ..PodStatus::default() });
    }

    fn is_read(&self) -> bool {
        self.spec.is_some()
    }
}

/// Where a Pod is and what it holds of extended resources; `None` if nothing.
fn holding(spec: PodSpec) -> Option<PodSpec> {
    let containers: Vec<Container> = spec.containers.into_iter().filter_map(holder).collect();
    let init_containers: Vec<Container> =
        spec.init_containers.into_iter().flatten().filter_map(holder).collect();
    (!containers.is_empty() || !init_containers.is_empty()).then(|| PodSpec {
        node_name: spec.node_name,
        containers,
        init_containers: Some(init_containers),
        ..PodSpec::default()
    })
}

fn holder(container: Container) -> Option<Container> {
    let Container { name, resources, restart_policy, .. } = container;
    let ResourceRequirements { mut limits, mut requests, .. } = resources?;
    for of in [&mut limits, &mut requests].into_iter().flatten() {
        // Only such have a domain in their names.
        of.retain(|resource, _| resource.contains('/'));
    }
    let holds = [&limits, &requests].into_iter().flatten().any(|of| !of.is_empty());
    let resources = ResourceRequirements { limits, requests, claims: None };
    holds.then(|| Container { name, resources: Some(resources), restart_policy, ..Container::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pods::requested;
    use super::*;

    fn shrunk<K: Kept>(object: Value) -> K {
        let mut object: K = serde_json::from_value(object).unwrap();
        shrink(&mut object, "hearth");
        object
    }

    fn pod(namespace: &str, name: &str, limits: &Value, message: &str) -> Pod {
        shrunk(json!({
            "metadata": {"name": name, "namespace": namespace, "uid": "1", "resourceVersion": message,
                "annotations": {"a": message}},
            "spec": {
                "nodeName": "box",
                "containers": [
                    {"name": "a", "args": ["a"], "resources": {"limits": limits}},
                    {"name": "b", "resources": {"requests": {"cpu": "1"}}}],
                "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": {"limits": limits}}],
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "message": message}]},
        }))
    }

    #[test]
    fn of_other_pods_only_what_they_hold_is_read() {
        let gpus = json!({"nvidia.com/gpu": "2", "memory": "1Gi"});
        let other = pod("default", "other", &gpus, "one");
        assert_eq!(requested(&other, "nvidia.com/gpu"), 4, "the sidecar's count too");
        assert_eq!(other.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
        assert_eq!(other, pod("default", "other", &gpus, "another"), "no news");
        assert!(other.is_read() && !pod("default", "other", &json!({"memory": "1Gi"}), "one").is_read());
        let fake = pod("default", "hearth-worker-box", &gpus, "one");
        assert!(fake.status.unwrap().conditions.is_none(), "our name alone does not make it ours");
    }

    #[test]
    fn of_our_own_pods_their_state_is_read() {
        let ours = |message| pod("hearth", "hearth-worker-box", &json!({}), message);
        assert!(ours("one").is_read() && ours("one") != ours("another"));
        assert!(ours("one").spec.unwrap().containers[0].args.is_none());
    }

    #[test]
    fn what_a_kubelet_reports_again_and_again_is_no_news() {
        let node = |at: &str, gpus: &str| -> Node {
            shrunk(json!({
                "metadata": {"name": "box", "resourceVersion": at, "annotations": {"a": at}},
                "spec": {"unschedulable": true, "podCIDR": "10.0.0.0/24"},
                "status": {
                    "capacity": {"nvidia.com/gpu": "2"}, "allocatable": {"nvidia.com/gpu": gpus},
                    "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": at}]},
            }))
        };
        let (earlier, later) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z");
        assert_eq!(node(earlier, "2"), node(later, "2"));
        assert_ne!(node(earlier, "2"), node(later, "1"));
        assert_eq!(node(earlier, "2").spec.unwrap().unschedulable, Some(true));
    }
}
