//! What becomes of machines and their Pods.

use hearth_api::worker::{StoreStatus, WorkerStatus};
use hearth_proto::worker::v1 as wire;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::super::*;
use super::world::*;
use crate::controller::build::Holds;

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
fn a_worker_that_is_not_believed_loses_its_models() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.told(|told| told.applied = Some(wire::Fence { epoch: u64::MAX, generation: 1 }));
    let link = world.snapshot.links.remove("box").unwrap().believed(EPOCH);
    world.snapshot.links.insert("box".to_owned(), link);
    world.later(GONE_AFTER);
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
fn a_worker_with_an_invalid_spec_is_as_closed_as_it_says() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.worker(|worker| worker.spec.allowed_namespaces = Some(vec!["*".to_owned(), "No Name".to_owned()]));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Waiting);
    let why = world.message("chat", "Placed");
    assert!(why.contains("closed"), "{why}");
}

#[test]
fn what_is_remembered_of_a_machine_goes_with_its_worker() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.memory.failures.add("box", "1", "it broke", world.snapshot.at);
    assert!(world.memory.failures.next(world.snapshot.at).is_some());
    world.snapshot.workers.clear();
    let snapshot = world.snapshot.clone();
    decide(&mut world.memory, &snapshot, &world.resolutions, &world.ground, EPOCH);
    assert_eq!(world.memory.failures.next(world.snapshot.at), None);
    assert!(world.memory.orders.of("box").unwrap().replicas.is_empty(), "with the credentials in it");
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
fn a_store_that_was_full_is_looked_at_again() {
    let mut world = World::new(1);
    let store = Some(StoreStatus { capacity: 1 << 20, used: 1 << 20, unused: 0 });
    world.worker(|worker| worker.status = Some(WorkerStatus { store, ..WorkerStatus::default() }));
    world.model("chat", |_| {});
    assert!(matches!(world.round(), PodAction::Create(_)));
}

#[test]
fn a_model_takes_what_the_engine_there_makes_of_it() {
    let fits = |weights: wire::WeightStorage| {
        let mut world = World::new(1);
        let device = wire::Device {
            uuid: "GPU-0".to_owned(),
            kind: wire::DeviceKind::Cuda.into(),
            // Room for the weights as the file has them, not for four bytes each.
            total_bytes: 2 * GIB,
            healthy: true,
            weights: weights.into(),
            ..wire::Device::default()
        };
        let devices = vec![from_wire(&device)];
        world.worker(|worker| worker.status = Some(WorkerStatus { devices, ..WorkerStatus::default() }));
        world.model("chat", |_| {});
        matches!(world.round(), PodAction::Create(_))
    };
    assert!(fits(wire::WeightStorage::Packed));
    assert!(!fits(wire::WeightStorage::F32));
    assert!(!fits(wire::WeightStorage::Unspecified), "a worker of an older version");
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
