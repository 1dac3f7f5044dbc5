//! Whole rounds over a world that is made up: what is decided is carried out
//! by hand, and the next round sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_api::model::{ModelState, ReplicaState, ServedModelStatus};
use hearth_api::worker::{WorkerSpec, WorkerStatus};
use hearth_api::{ServedModel, ServedModelSpec, Worker};
use hearth_model::Dims;
use hearth_proto::worker::v1 as wire;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::json;

use super::*;
use crate::controller::build::{Holds, PodPlan, worker_pod};
use crate::controller::config::tests::example;
use crate::controller::look::{Found, LinkState, ModelActivity, Refusal};
use crate::controller::tell;

const EPOCH: u64 = 5;
const GIB: u64 = 1 << 30;

/// A world with one node `box`.
struct World {
    ground: Ground,
    memory: Memory,
    snapshot: Snapshot,
    resolutions: BTreeMap<String, Resolution>,
    statuses: BTreeMap<String, ServedModelStatus>,
    /// What the worker holds, by the replicas' names.
    held: BTreeMap<String, Instance>,
    again: Option<Instant>,
    epoch: u64,
}

/// A replica as a worker holds it: it speaks for the newest order that it satisfies.
struct Instance {
    load: Replica,
    fence: wire::Fence,
    loads: u32,
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
    fn new(gpus: u32) -> Self {
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

    fn node(&mut self, capacity: u32, allocatable: u32) {
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

    fn model(&mut self, name: &str, change: impl FnOnce(&mut ServedModelSpec)) {
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

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut ServedModelSpec)) {
        let model = self.snapshot.models.iter_mut().find(|model| model.name_any() == name).unwrap();
        change(&mut Arc::make_mut(model).spec);
    }

    fn other_pod(&mut self, gpus: u32) {
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
    fn round(&mut self) -> PodAction {
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
    fn serve(&mut self, gpus: u32, state: wire::ReplicaState) {
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

    fn apply(&mut self, order: &Order) {
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
    fn loads(&self, name: &str) -> u32 {
        self.held[&format!("uid-{name}-0")].loads
    }

    /// What is known of a model's file changes.
    fn found(&mut self, name: &str, change: impl FnOnce(&mut Found)) {
        let resolution = self.resolutions.get_mut(&format!("uid-{name}")).unwrap();
        let Resolution::Known(found) = resolution else { panic!("{name} is not known") };
        change(Arc::make_mut(found));
    }

    /// Another leader: it knows what stands in status, and no worker yet.
    fn takeover(&mut self) {
        for model in &mut self.snapshot.models {
            let status = self.statuses.get(&model.uid().unwrap()).cloned();
            Arc::make_mut(model).status = status;
        }
        self.memory = Memory::default();
        self.epoch += 1;
    }

    fn worker(&mut self, change: impl FnOnce(&mut Worker)) {
        change(Arc::make_mut(self.snapshot.workers.get_mut("box").unwrap()));
    }

    fn pod(&mut self, change: impl FnOnce(&mut Pod)) {
        let pod = self.snapshot.pods.iter_mut().find(|pod| pod.name_any() == "hearth-worker-box").unwrap();
        change(Arc::make_mut(pod));
    }

    fn later(&mut self, by: Duration) {
        self.snapshot.at += by;
        self.snapshot.now += SignedDuration::try_from(by).unwrap();
    }

    fn state(&self, name: &str) -> ModelState {
        self.statuses[&format!("uid-{name}")].state.unwrap()
    }

    fn message(&self, name: &str, condition: &str) -> String {
        let status = &self.statuses[&format!("uid-{name}")];
        let condition = status.conditions.iter().find(|c| c.type_ == condition).unwrap();
        format!("{}={} {}", condition.status, condition.reason, condition.message)
    }

    fn fence(&self) -> (u64, u64) {
        let fence = self.memory.orders.of("box").unwrap().fence;
        (fence.epoch, fence.generation)
    }

    /// From nothing to a model that answers.
    fn bring_up(&mut self, name: &str) {
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
    Dims {
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_dim_k: 64,
        head_dim_v: 64,
        embedding: 576,
        ffn: 1536,
        vocab: 49152,
        context_length: 8192,
        weights_f32_bytes: 540 << 20,
        weights_packed_bytes: 100 << 20,
    }
}

#[test]
fn a_model_wakes_its_machine_is_loaded_and_answers() {
    let mut world = World::new(2);
    assert_eq!(world.round(), PodAction::Leave, "no model, no Pod");
    world.model("chat", |_| {});
    assert!(
        matches!(world.round(), PodAction::Create(Holds::Gpus { count: 2, .. })),
        "its memory is not known yet"
    );
    assert_eq!(world.state("chat"), ModelState::Starting);
    world.serve(2, wire::ReplicaState::Pending);
    assert_eq!(world.round(), PodAction::Leave);
    assert_eq!(world.fence(), (EPOCH, 2), "the empty set first, then the model");
    let replica = world.statuses["uid-chat"].replicas[0].clone();
    assert_eq!((replica.worker.as_str(), replica.epoch, replica.generation), ("box", EPOCH, 2));
    world.serve(2, wire::ReplicaState::Fetching);
    world.round();
    assert_eq!(world.state("chat"), ModelState::Fetching);
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    assert_eq!(world.state("chat"), ModelState::Ready);
    let before = world.statuses.clone();
    world.later(Duration::from_secs(1));
    world.round();
    assert_eq!(world.statuses, before, "nothing happened, nothing is written");
    assert_eq!(world.fence(), (EPOCH, 2));
}

#[test]
fn gpus_that_another_pod_holds_are_waited_for_and_taken_when_it_goes() {
    let mut world = World::new(2);
    world.other_pod(2);
    world.model("chat", |_| {});
    world.round();
    assert_eq!(world.state("chat"), ModelState::Waiting);
    let why = world.message("chat", "Placed");
    assert!(why.contains("default/other"), "{why}");
    world.snapshot.pods.clear();
    assert!(matches!(world.round(), PodAction::Create(_)));
}

#[test]
fn a_machine_without_models_is_given_back_after_a_while() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.snapshot.models.clear();
    assert_eq!(world.round(), PodAction::Leave);
    assert_eq!(world.fence(), (EPOCH, 3), "the empty set unloads it");
    world.serve(2, wire::ReplicaState::Ready);
    world.later(Duration::from_secs(29 * 60));
    assert_eq!(world.round(), PodAction::Leave);
    world.later(Duration::from_secs(60));
    assert!(matches!(world.round(), PodAction::Delete { .. }));
    assert_eq!(world.round(), PodAction::Leave);
}

#[test]
fn a_spec_that_is_refused_disturbs_nothing_that_runs() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let fence = world.fence();
    world.edit("chat", |spec| spec.context.max = Some(1 << 20));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Ready);
    let why = world.message("chat", "Accepted");
    assert!(why.starts_with("False=ContextOutOfRange") && why.contains("1048576"), "{why}");
    world.edit("chat", |spec| spec.replicas = -1);
    world.round();
    assert_eq!((world.state("chat"), world.fence()), (ModelState::Ready, fence));
}

#[test]
fn a_source_that_is_down_disturbs_nothing_that_runs() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let (fence, order) = (world.fence(), world.memory.orders.of("box").cloned());
    let refusal = Refusal { reason: "SourceUnreachable", message: "no route".to_owned(), passes: true };
    world.resolutions.insert("uid-chat".to_owned(), Resolution::Refused(refusal));
    world.round();
    assert_eq!((world.state("chat"), world.fence()), (ModelState::Ready, fence));
    // A new leader knows only what stands in status, until the source answers.
    let status = world.statuses["uid-chat"].clone();
    Arc::make_mut(&mut world.snapshot.models[0]).status = Some(status);
    world.memory = Memory::default();
    world.resolutions.insert("uid-chat".to_owned(), Resolution::Reading);
    world.round();
    assert_eq!(world.state("chat"), ModelState::Ready);
    assert_eq!(world.memory.orders.of("box").map(|o| &o.replicas), order.as_ref().map(|o| &o.replicas));
}

#[test]
fn a_worker_that_falls_silent_loses_its_routes_at_once_and_its_models_later() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let link = world.snapshot.links.get_mut("box").unwrap();
    (link.up, link.since) = (false, world.snapshot.at);
    world.later(Duration::from_secs(3));
    world.round();
    assert_eq!(world.statuses["uid-chat"].replicas[0].state, ReplicaState::Pending);
    world.later(Duration::from_secs(8));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Waiting);
    let why = world.message("chat", "Placed");
    assert!(why.contains("does not answer"), "{why}");
}

#[test]
fn a_gpu_that_the_kubelet_calls_unhealthy_is_planned_around() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let device = world.statuses["uid-chat"].replicas[0].device.clone();
    let pod = world.snapshot.pods.iter_mut().find(|pod| pod.name_any() == "hearth-worker-box").unwrap();
    let status = Arc::make_mut(pod).status.as_mut().unwrap();
    status.container_statuses = serde_json::from_value(json!([{
        "name": "worker", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "allocatedResourcesStatus": [{"name": "nvidia.com/gpu", "resources": [
            {"resourceID": device, "health": "Unhealthy"}]}],
    }]))
    .unwrap();
    world.node(2, 1);
    assert_eq!(world.round(), PodAction::Leave, "the healthy one is held already");
    let replica = &world.statuses["uid-chat"].replicas[0];
    assert_ne!(replica.device, device);
    assert_eq!((replica.epoch, replica.generation), world.fence());
}

#[test]
fn a_closed_worker_is_emptied_and_then_its_pod_goes() {
    let mut world = World::new(2);
    world.bring_up("chat");
    Arc::make_mut(world.snapshot.workers.get_mut("box").unwrap()).spec.closed = true;
    world.round();
    assert_eq!(world.state("chat"), ModelState::Waiting);
    assert!(world.memory.orders.of("box").unwrap().replicas.is_empty());
    world.serve(2, wire::ReplicaState::Ready);
    assert!(matches!(world.round(), PodAction::Delete { .. }));
}

#[test]
fn a_model_that_nobody_asks_for_sleeps_and_wakes_on_the_first_request() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.edit("chat", |spec| spec.idle_after = Some(hearth_api::Duration::from_mins(10)));
    world.round();
    world.later(Duration::from_secs(10 * 60));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Stopped);
    assert!(world.memory.orders.of("box").unwrap().replicas.is_empty());
    let key = ("default".to_owned(), "chat".to_owned());
    world.snapshot.activity.insert(key, ModelActivity { waiting: 1, running: 0, idle: None });
    world.round();
    assert_eq!(world.statuses["uid-chat"].replicas.len(), 1);
}

#[test]
fn of_two_models_with_one_name_the_older_is_served() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.model("other", |spec| spec.served_name = Some("chat".to_owned()));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Ready);
    assert_eq!(world.state("other"), ModelState::Invalid);
    assert!(world.message("other", "Accepted").starts_with("False=NameTaken"));
    assert!(world.message("other", "Accepted").contains("default/chat"));
}

#[test]
fn the_same_bytes_from_elsewhere_are_not_loaded_anew() {
    let mut world = World::new(2);
    world.model("chat", |_| {});
    world.found("chat", |found| found.sha256 = Some("d".repeat(64)));
    world.round();
    world.serve(2, wire::ReplicaState::Pending);
    world.round();
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    world.found("chat", |found| {
        found.url = "https://models/another-commit/chat.gguf".to_owned();
        found.revision = Some("v2".to_owned());
    });
    world.round();
    assert_eq!(world.state("chat"), ModelState::Ready);
    let order = world.memory.orders.of("box").unwrap();
    assert!(order.replicas[0].file.as_ref().unwrap().url.contains("another-commit"), "for the next load");
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    assert_eq!((world.state("chat"), world.loads("chat")), (ModelState::Ready, 1));
    world.found("chat", |found| found.sha256 = Some("e".repeat(64)));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Starting);
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    assert_eq!((world.state("chat"), world.loads("chat")), (ModelState::Ready, 2));
}

#[test]
fn an_etag_that_changed_while_the_controller_restarted_reloads_nothing() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.takeover();
    world.found("chat", |found| found.revision = Some("another ETag".to_owned()));
    world.round();
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    assert_eq!((world.state("chat"), world.loads("chat")), (ModelState::Ready, 1));
}

#[test]
fn an_order_that_came_back_to_what_runs_is_spoken_for() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let sequences = world.snapshot.models[0].spec.sequences;
    world.edit("chat", |spec| spec.sequences = sequences + 1);
    world.round();
    // The worker hears of neither change before the second.
    world.edit("chat", |spec| spec.sequences = sequences);
    world.round();
    assert_eq!(world.state("chat"), ModelState::Starting);
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    assert_eq!((world.state("chat"), world.loads("chat")), (ModelState::Ready, 1));
}

#[test]
fn a_takeover_evicts_nobody_whose_file_is_still_being_read() {
    let mut world = World::new(1);
    world.model("high", |spec| spec.priority = 50);
    world.found("high", |found| found.dims.weights_f32_bytes = 8 * GIB);
    world.round();
    world.serve(1, wire::ReplicaState::Pending);
    world.round();
    world.serve(1, wire::ReplicaState::Ready);
    world.round();
    assert_eq!(world.state("high"), ModelState::Ready);
    world.model("low", |_| {});
    world.found("low", |found| found.dims.weights_f32_bytes = 8 * GIB);
    world.round();
    assert_eq!(world.state("low"), ModelState::Waiting);
    world.takeover();
    let known = world.resolutions.insert("uid-high".to_owned(), Resolution::Reading);
    world.round();
    assert_eq!((world.state("high"), world.state("low")), (ModelState::Ready, ModelState::Waiting));
    world.resolutions.extend(known.map(|known| ("uid-high".to_owned(), known)));
    world.edit("high", |spec| spec.replicas = -1);
    world.round();
    assert_eq!((world.state("high"), world.state("low")), (ModelState::Ready, ModelState::Waiting));
}

#[test]
fn a_takeover_takes_no_route_away_before_the_worker_could_be_met() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.takeover();
    let devices = world.snapshot.links["box"].last.as_ref().unwrap().devices.iter().map(from_wire).collect();
    world.worker(|worker| {
        worker.status = Some(WorkerStatus {
            state: Some(hearth_api::worker::WorkerState::Ready),
            address: Some("10.0.0.9:9090".to_owned()),
            devices,
            ..WorkerStatus::default()
        });
    });
    let began = LinkState::new(world.snapshot.at);
    world.snapshot.links.insert("box".to_owned(), began);
    assert_eq!(world.round(), PodAction::Leave);
    assert_eq!(world.state("chat"), ModelState::Ready);
    assert_eq!(world.again, Some(world.snapshot.at + GONE_AFTER));
    world.later(GONE_AFTER);
    world.round();
    assert_eq!(world.state("chat"), ModelState::Waiting, "it is not one that starts: it was met before");
    assert!(world.message("chat", "Placed").contains("does not answer"));
}

#[test]
fn a_pod_that_ends_on_a_node_that_is_lost_is_not_waited_for() {
    let silent = |world: &mut World| {
        let link = world.snapshot.links.get_mut("box").unwrap();
        (link.up, link.since) = (false, world.snapshot.at);
    };
    let end = |world: &mut World| {
        let now = world.snapshot.now;
        world.pod(|pod| pod.metadata.deletion_timestamp = Some(Time(now + SignedDuration::from_secs(30))));
    };
    let mut world = World::new(2);
    world.bring_up("chat");
    silent(&mut world);
    end(&mut world);
    world.later(GONE_AFTER);
    world.round();
    assert_eq!(world.state("chat"), ModelState::Waiting, "its process does not answer");

    let mut world = World::new(2);
    world.bring_up("chat");
    end(&mut world);
    world.snapshot.links.clear();
    world.later(Duration::from_secs(30));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Starting, "it may be made anew in a moment");
    world.later(Duration::from_secs(10));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Waiting, "nobody ends it");
}

#[test]
fn a_pod_that_cannot_start_is_taken_back_and_its_machine_is_not_waited_for() {
    let mut world = World::new(2);
    world.model("chat", |_| {});
    assert!(matches!(world.round(), PodAction::Create(_)));
    let made = Time(world.snapshot.now);
    world.pod(|pod| {
        pod.metadata.creation_timestamp = Some(made);
        pod.status = serde_json::from_value(json!({"phase": "Pending", "containerStatuses": [{
            "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}))
        .unwrap();
    });
    assert_eq!(world.round(), PodAction::Leave);
    world.later(Duration::from_secs(60));
    assert!(matches!(world.round(), PodAction::Delete { .. }));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Waiting);
    let why = world.message("chat", "Placed");
    assert!(why.contains("ImagePullBackOff: no such image"), "{why}");
}

#[test]
fn old_readings_of_a_machine_without_a_process_refuse_nothing() {
    let mut world = World::new(1);
    let device = wire::Device {
        uuid: "GPU-0".to_owned(),
        kind: wire::DeviceKind::Cuda.into(),
        total_bytes: 12 * GIB,
        used_by_others_bytes: 12 * GIB,
        healthy: false,
        message: "Xid 79".to_owned(),
        ..wire::Device::default()
    };
    let devices = vec![from_wire(&device)];
    world.worker(|worker| worker.status = Some(WorkerStatus { devices, ..WorkerStatus::default() }));
    world.model("chat", |_| {});
    assert!(matches!(world.round(), PodAction::Create(_)));
}

#[test]
fn a_refused_spec_is_no_reason_to_look_again_and_again() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.edit("chat", |spec| spec.idle_after = Some(hearth_api::Duration::from_mins(10)));
    world.round();
    assert_eq!(world.again, Some(world.snapshot.at + Duration::from_secs(10 * 60)));
    world.edit("chat", |spec| spec.replicas = -1);
    world.later(Duration::from_secs(11 * 60));
    world.round();
    assert_eq!(world.again, None);
}

#[test]
fn a_worker_unloads_nothing_before_status_tells_so() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.edit("chat", |spec| spec.replicas = 0);
    let snapshot = world.snapshot.clone();
    let decision = decide(&mut world.memory, &snapshot, &world.resolutions, &world.ground, EPOCH);
    let mut wanted = decision.wanted.clone();
    assert_eq!(wanted["box"], []);
    withhold(&mut wanted, &decision.models, &world.memory.intents, &["uid-chat".to_owned()]);
    assert!(wanted.contains_key("box"));
    withhold(&mut wanted, &decision.models, &world.memory.intents, &[]);
    assert!(wanted.is_empty(), "its status could not be written: the worker keeps what it has");
}

#[test]
fn a_model_that_cannot_be_loaded_on_one_device_is_tried_on_another_and_then_left() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let device = |world: &World| world.statuses["uid-chat"].replicas[0].device.clone();
    let first = device(&world);
    let fail = |world: &mut World| {
        world.serve(2, wire::ReplicaState::Failed);
        let link = world.snapshot.links.get_mut("box").unwrap();
        let told = Arc::make_mut(link.last.as_mut().unwrap());
        for replica in &mut told.replicas {
            replica.failure = Some(wire::Failure {
                reason: "ModelUnusable".to_owned(),
                message: "no such operation".to_owned(),
                permanent: true,
            });
        }
        world.round();
    };
    fail(&mut world);
    let second = device(&world);
    assert_ne!(first, second);
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    assert_eq!((world.state("chat"), device(&world)), (ModelState::Ready, second.clone()), "it stays there");
    fail(&mut world);
    assert_eq!((world.state("chat"), device(&world)), (ModelState::Failed, second), "nothing is left to try");
}

#[test]
fn which_gpus_a_machine_without_a_process_will_get_is_not_guessed() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let devices = world.snapshot.links["box"].last.as_ref().unwrap().devices.iter().map(from_wire).collect();
    world.worker(|worker| worker.status = Some(WorkerStatus { devices, ..WorkerStatus::default() }));
    world.snapshot.pods.clear();
    world.snapshot.links.clear();
    world.other_pod(1);
    assert!(matches!(world.round(), PodAction::Create(Holds::Gpus { count: 1, .. })));
    assert!(world.statuses["uid-chat"].replicas.is_empty(), "it is placed once the GPU is known");
    assert_eq!(world.state("chat"), ModelState::Starting);
}
