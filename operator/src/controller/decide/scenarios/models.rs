//! What becomes of models.

use hearth_proto::worker::v1 as wire;

use super::super::*;
use super::world::*;
use crate::controller::build::Holds;
use crate::controller::look::{ModelActivity, Refusal};

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
fn a_model_that_answers_unseen_requests_does_not_sleep() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.edit("chat", |spec| spec.idle_after = Some(hearth_api::Duration::from_mins(10)));
    world.round();
    world.snapshot.heard = false;
    world.later(Duration::from_secs(20 * 60));
    world.round();
    assert_eq!((world.state("chat"), world.again), (ModelState::Ready, None), "no gateway can tell");
    world.snapshot.heard = true;
    world.told(|told| told.replicas[0].outstanding_requests = 1);
    world.later(Duration::from_secs(20 * 60));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Ready, "its worker knows of a request");
    world.told(|told| told.replicas[0].outstanding_requests = 0);
    world.later(Duration::from_secs(10 * 60));
    world.round();
    assert_eq!(world.state("chat"), ModelState::Stopped);
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
fn a_model_that_cannot_be_loaded_on_one_device_is_tried_on_another_and_then_left() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let device = |world: &World| world.statuses["uid-chat"].replicas[0].device.clone();
    let first = device(&world);
    let fail = |world: &mut World| {
        world.serve(2, wire::ReplicaState::Failed);
        world.tell_failure("ModelUnusable", "no such operation", true);
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
fn a_file_that_changed_at_its_source_is_looked_at_anew_unless_it_is_served() {
    let mut world = World::new(2);
    world.model("chat", |_| {});
    world.round();
    world.serve(2, wire::ReplicaState::Pending);
    world.round();
    world.serve(2, wire::ReplicaState::Pending);
    world.tell_failure("SourceChanged", "it has version `v2`, not `v1`", false);
    assert_eq!(doubts(&world.snapshot), BTreeSet::from([("uid-chat", Doubt::Version)]));
    world.round();
    let why = world.message("chat", "Ready");
    assert!(why.starts_with("False=SourceChanged") && why.contains("it has version `v2`"), "{why}");

    let before = world.fence();
    world.found("chat", |found| found.revision = Some("v2".to_owned()));
    world.round();
    let order = world.memory.orders.replica("box", "uid-chat-0").unwrap().file.clone().unwrap();
    assert_eq!(order.revision, "v2");
    assert!(world.fence() > before, "the worker is told");
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    assert_eq!((world.state("chat"), world.loads("chat")), (ModelState::Ready, 1));
    // A machine that cannot fetch what another one serves is no reason to serve something else.
    world.tell_failure("SourceChanged", "it has version `v3`, not `v2`", false);
    assert!(doubts(&world.snapshot).is_empty());
}

#[test]
fn a_model_that_moves_to_a_faster_device_is_served_all_the_way() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let old = world.statuses["uid-chat"].replicas[0].clone();
    let device = old.device.clone();
    // The other GPU turns out to be a faster one, and the worker is as far as `state` with it.
    let round = |world: &mut World, state: wire::ReplicaState| {
        world.serve(2, wire::ReplicaState::Ready);
        world.told(|told| {
            for device in told.devices.iter_mut().filter(|other| other.uuid != device) {
                device.product = "NVIDIA GeForce RTX 4090".to_owned();
            }
            for replica in told.replicas.iter_mut().filter(|replica| replica.id == "uid-chat-1") {
                replica.state = state.into();
            }
        });
        world.round();
        let status = &world.statuses["uid-chat"];
        assert_eq!((status.state, status.ready_replicas), (Some(ModelState::Ready), 1), "{status:?}");
        assert_eq!(status.summary.as_ref().unwrap().replicas, "1/1");
        let ordered = world.memory.orders.of("box").unwrap().replicas.iter();
        ordered.map(|replica| replica.id.clone()).collect::<Vec<_>>()
    };
    let both = ["uid-chat-0", "uid-chat-1"];
    assert_eq!(round(&mut world, wire::ReplicaState::Pending), both);
    assert_eq!(world.statuses["uid-chat"].replicas[1], old, "it is not touched");
    assert_eq!(world.statuses["uid-chat"].replicas[0].replaces, Some(0));
    assert_eq!(round(&mut world, wire::ReplicaState::Loading), both);
    // Routed to first, unloaded then.
    assert_eq!(round(&mut world, wire::ReplicaState::Ready), both);
    assert_eq!(round(&mut world, wire::ReplicaState::Ready), ["uid-chat-1"]);
    let [new] = &world.statuses["uid-chat"].replicas[..] else { panic!("not one replica") };
    assert!(new.device != device && new.replaces.is_none());
    assert_eq!(
        (world.loads_of("uid-chat-1"), world.message("chat", "Placed")),
        (1, "True=EveryReplica on box".to_owned())
    );
}
