//! The world of the scenarios.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_api::model::{ModelState, ServedModelStatus};
use hearth_api::worker::WorkerSpec;
use hearth_api::{ServedModel, ServedModelSpec, Worker};
use hearth_model::{Dims, testing::SMOLLM2};
use hearth_proto::worker::v1 as wire;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::json;

use crate::controller::build::{PodPlan, worker_pod};
use crate::controller::config::tests::example;
use crate::controller::decide::*;
use crate::controller::look::{Found, LinkState};
use crate::controller::tell;

/// The epoch of the first leader.
pub(super) const EPOCH: u64 = 5;
pub(super) const GIB: u64 = 1 << 30;

/// A world with one node `box`.
pub(super) struct World {
    pub(super) ground: Ground,
    pub(super) memory: Memory,
    pub(super) snapshot: Snapshot,
    pub(super) resolutions: BTreeMap<String, Resolution>,
    pub(super) statuses: BTreeMap<String, ServedModelStatus>,
    /// What the worker holds, by the replicas' names.
    pub(super) held: BTreeMap<String, Instance>,
    pub(super) again: Option<Instant>,
    pub(super) epoch: u64,
}

/// A replica as a worker holds it: it speaks for the newest order that it satisfies.
pub(super) struct Instance {
    pub(super) load: Replica,
    pub(super) fence: wire::Fence,
    pub(super) loads: u32,
}

/// What a worker loads anew for.
fn load(replica: &Replica) -> Replica {
    let Replica { id, device_uuid, context_tokens, sequences, kv_type, .. } = replica.clone();
    let file = replica.file.clone().unwrap_or_default();
    let file = match file.sha256.is_empty() {
        true => wire::ModelFile { url: file.url, ..wire::ModelFile::default() },
        false => wire::ModelFile { sha256: file.sha256, ..wire::ModelFile::default() },
    };
    Replica { id, device_uuid, context_tokens, sequences, kv_type, file: Some(file), ..Replica::default() }
}

impl World {
    pub(super) fn new(gpus: u32) -> Self {
        let owner = OwnerReference { name: "o".to_owned(), uid: "o".to_owned(), ..OwnerReference::default() };
        let ground = Ground {
            config: example(),
            namespace: "hearth".to_owned(),
            owners: Owners { namespaced: owner.clone(), cluster: owner },
        };
        let mut worker = Worker::new("box", WorkerSpec::pod("box"));
        worker.metadata.uid = Some("box".to_owned());
        let snapshot = Snapshot {
            models: Vec::new(),
            workers: BTreeMap::from([("box".to_owned(), Arc::new(worker))]),
            nodes: BTreeMap::new(),
            pods: Vec::new(),
            claims: BTreeMap::new(),
            secrets: BTreeMap::new(),
            runtime_classes: BTreeSet::from(["nvidia".to_owned()]),
            links: BTreeMap::new(),
            activity: BTreeMap::new(),
            heard: true,
            at: Instant::now(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        let mut world = Self {
            ground,
            memory: Memory::default(),
            snapshot,
            resolutions: BTreeMap::new(),
            statuses: BTreeMap::new(),
            held: BTreeMap::new(),
            again: None,
            epoch: EPOCH,
        };
        world.node(gpus, gpus);
        world
    }

    pub(super) fn node(&mut self, capacity: u32, allocatable: u32) {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "box"},
            "status": {
                "capacity": {"nvidia.com/gpu": capacity.to_string()},
                "allocatable": {"nvidia.com/gpu": allocatable.to_string()},
            },
        }))
        .unwrap();
        self.snapshot.nodes.insert("box".to_owned(), Arc::new(node));
    }

    pub(super) fn model(&mut self, name: &str, change: impl FnOnce(&mut ServedModelSpec)) {
        let mut spec = ServedModelSpec::new(format!("https://models/{name}.gguf"));
        change(&mut spec);
        let mut model = ServedModel::new(name, spec);
        model.metadata.namespace = Some("default".to_owned());
        model.metadata.uid = Some(format!("uid-{name}"));
        model.metadata.generation = Some(1);
        model.metadata.creation_timestamp = Some(Time(
            Timestamp::from_second(1_000 + i64::try_from(self.snapshot.models.len()).unwrap()).unwrap(),
        ));
        self.snapshot.models.push(Arc::new(model));
        let found = Found {
            url: format!("https://models/{name}.gguf"),
            revision: Some("v1".to_owned()),
            sha256: None,
            size: 100 << 20,
            architecture: "llama".to_owned(),
            quantization: "Q4_1".to_owned(),
            dims: dims(),
            token: None,
        };
        self.resolutions.insert(format!("uid-{name}"), Resolution::Known(Arc::new(found)));
    }

    pub(super) fn edit(&mut self, name: &str, change: impl FnOnce(&mut ServedModelSpec)) {
        let model = self.snapshot.models.iter_mut().find(|model| model.name_any() == name).unwrap();
        change(&mut Arc::make_mut(model).spec);
    }

    pub(super) fn other_pod(&mut self, gpus: u32) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "other", "namespace": "default"},
            "spec": {"nodeName": "box", "containers": [
                {"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}}}]},
            "status": {"phase": "Running"},
        }))
        .unwrap();
        self.snapshot.pods.push(Arc::new(pod));
    }

    /// One round: decide, write statuses, order, and carry Pod actions out.
    pub(super) fn round(&mut self) -> PodAction {
        let snapshot = self.snapshot.clone();
        let decision = decide(&mut self.memory, &snapshot, &self.resolutions, &self.ground, self.epoch);
        self.again = decision.again;
        for model in &decision.models {
            let before = self.statuses.get(&model.uid).cloned().unwrap_or_default();
            let plan = decision.plan.model(&key(&model.model));
            let status = tell::model_status(model, plan, &before, &snapshot.links, snapshot.at, snapshot.now);
            self.memory.intents.insert(model.uid.clone(), status.replicas.clone());
            self.statuses.insert(model.uid.clone(), status);
        }
        self.memory.orders.update(self.epoch, decision.wanted.clone());
        let machine = &decision.machines[0];
        match &machine.action {
            PodAction::Create(holds) => {
                let plan = PodPlan {
                    worker: "box",
                    node: "box",
                    namespace: &self.ground.namespace,
                    holds,
                    runtime_class: machine.runtime_class.as_deref(),
                    reserve_bytes: GIB,
                    store_bytes: 200 * GIB,
                    owner: &self.ground.owners.namespaced,
                };
                let mut pod = worker_pod(&plan, &self.ground.config);
                pod.metadata.uid = Some("pod".to_owned());
                self.snapshot.pods.push(Arc::new(pod));
            }
            PodAction::Delete { .. } => {
                self.snapshot.pods.retain(|pod| pod.name_any() != "hearth-worker-box");
                self.snapshot.links.clear();
            }
            PodAction::Leave | PodAction::Blocked { .. } => {}
        }
        machine.action.clone()
    }

    /// The Pod runs, and its process tells what it was ordered, in `state`.
    pub(super) fn serve(&mut self, gpus: u32, state: wire::ReplicaState) {
        if let Some(pod) = self.snapshot.pods.iter_mut().find(|pod| pod.name_any() == "hearth-worker-box") {
            Arc::make_mut(pod).status = serde_json::from_value(json!({
                "phase": "Running", "podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}],
            }))
            .unwrap();
        }
        let order = self.memory.orders.of("box").cloned();
        if let Some(order) = &order {
            self.apply(order);
        }
        let told = wire::WatchResponse {
            version: "0.1.0".to_owned(),
            applied: order.as_ref().map(|order| order.fence),
            devices: (0..gpus)
                .map(|n| wire::Device {
                    uuid: format!("GPU-{n}"),
                    kind: wire::DeviceKind::Cuda.into(),
                    product: "NVIDIA GeForce RTX 3060".to_owned(),
                    total_bytes: 12 * GIB,
                    free_bytes: 12 * GIB,
                    healthy: true,
                    ..wire::Device::default()
                })
                .collect(),
            replicas: self
                .held
                .values()
                .map(|held| wire::ReplicaStatus {
                    id: held.load.id.clone(),
                    state: state.into(),
                    device_uuid: held.load.device_uuid.clone(),
                    fence: Some(held.fence),
                    ..wire::ReplicaStatus::default()
                })
                .collect(),
            ..wire::WatchResponse::default()
        };
        let link = LinkState { up: true, last: Some(Arc::new(told)), ..LinkState::new(self.snapshot.at) };
        self.snapshot.links.insert("box".to_owned(), link);
    }

    /// Changes what the worker told last.
    pub(super) fn told(&mut self, change: impl FnOnce(&mut wire::WatchResponse)) {
        let link = self.snapshot.links.get_mut("box").unwrap();
        change(Arc::make_mut(link.last.as_mut().unwrap()));
    }

    /// The worker tells of every replica that the last try failed.
    pub(super) fn tell_failure(&mut self, reason: &str, message: &str, permanent: bool) {
        self.told(|told| {
            for replica in &mut told.replicas {
                let (reason, message) = (reason.to_owned(), message.to_owned());
                replica.failure = Some(wire::Failure { reason, message, permanent });
            }
        });
    }

    pub(super) fn apply(&mut self, order: &Order) {
        let mut before = std::mem::take(&mut self.held);
        for replica in &order.replicas {
            let (load, fence) = (load(replica), order.fence);
            let instance = match before.remove(&replica.id) {
                Some(held) if held.load == load => Instance { fence, ..held },
                other => Instance { load, fence, loads: other.map_or(0, |held| held.loads) + 1 },
            };
            self.held.insert(replica.id.clone(), instance);
        }
    }

    /// How often a replica was loaded since it was first ordered.
    pub(super) fn loads(&self, name: &str) -> u32 {
        self.loads_of(&format!("uid-{name}-0"))
    }

    /// The same, by the name on the wire.
    pub(super) fn loads_of(&self, id: &str) -> u32 {
        self.held[id].loads
    }

    /// What is known of a model's file changes.
    pub(super) fn found(&mut self, name: &str, change: impl FnOnce(&mut Found)) {
        let resolution = self.resolutions.get_mut(&format!("uid-{name}")).unwrap();
        let Resolution::Known(found) = resolution else { panic!("{name} is not known") };
        change(Arc::make_mut(found));
    }

    /// Another leader: it knows what stands in status, and no worker yet.
    pub(super) fn takeover(&mut self) {
        for model in &mut self.snapshot.models {
            let status = self.statuses.get(&model.uid().unwrap()).cloned();
            Arc::make_mut(model).status = status;
        }
        self.memory = Memory::default();
        self.epoch += 1;
    }

    pub(super) fn worker(&mut self, change: impl FnOnce(&mut Worker)) {
        change(Arc::make_mut(self.snapshot.workers.get_mut("box").unwrap()));
    }

    pub(super) fn pod(&mut self, change: impl FnOnce(&mut Pod)) {
        let pod = self.snapshot.pods.iter_mut().find(|pod| pod.name_any() == "hearth-worker-box").unwrap();
        change(Arc::make_mut(pod));
    }

    pub(super) fn later(&mut self, by: Duration) {
        self.snapshot.at += by;
        self.snapshot.now += SignedDuration::try_from(by).unwrap();
    }

    pub(super) fn state(&self, name: &str) -> ModelState {
        self.statuses[&format!("uid-{name}")].state.unwrap()
    }

    pub(super) fn message(&self, name: &str, condition: &str) -> String {
        let status = &self.statuses[&format!("uid-{name}")];
        let condition = status.conditions.iter().find(|c| c.type_ == condition).unwrap();
        format!("{}={} {}", condition.status, condition.reason, condition.message)
    }

    pub(super) fn fence(&self) -> (u64, u64) {
        let fence = self.memory.orders.of("box").unwrap().fence;
        (fence.epoch, fence.generation)
    }

    /// From nothing to a model that answers.
    pub(super) fn bring_up(&mut self, name: &str) {
        self.model(name, |_| {});
        self.round();
        self.serve(2, wire::ReplicaState::Pending);
        self.round();
        self.serve(2, wire::ReplicaState::Ready);
        self.round();
        assert_eq!(self.state(name), ModelState::Ready);
    }
}

fn dims() -> Dims {
    Dims { weights_f32_bytes: 540 << 20, weights_packed_bytes: 100 << 20, ..SMOLLM2 }
}
