//! What workers are told, also across a change of leader.

use hearth_api::worker::WorkerStatus;
use hearth_proto::worker::v1 as wire;

use super::super::*;
use super::world::*;
use crate::controller::look::LinkState;

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
fn a_refused_edit_and_a_takeover_leave_what_runs_alone() {
    let mut world = World::new(2);
    world.bring_up("chat");
    let served = world.memory.orders.of("box").unwrap().replicas.clone();
    world.edit("chat", |spec| {
        spec.source.uri = "https://models/another.gguf".to_owned();
        spec.context.min = Some(1 << 20);
        spec.context.max = Some(1 << 20);
    });
    world.found("chat", |found| found.url = "https://models/another.gguf".to_owned());
    world.round();
    assert!(world.message("chat", "Accepted").starts_with("False=ContextOutOfRange"));
    world.takeover();
    world.round();
    assert_eq!(world.memory.orders.of("box").unwrap().replicas, served);
    world.serve(2, wire::ReplicaState::Ready);
    world.round();
    assert_eq!((world.state("chat"), world.loads("chat")), (ModelState::Ready, 1));
    // What nothing runs of is told as it is.
    world.model("new", |spec| spec.context.max = Some(1 << 20));
    world.round();
    let resolved = world.statuses["uid-new"].resolved.as_ref();
    assert_eq!(resolved.map(|resolved| resolved.url.as_str()), Some("https://models/new.gguf"));
}

#[test]
fn what_was_found_is_pinned_while_the_spec_asks_the_same() {
    let mut world = World::new(2);
    world.bring_up("chat");
    world.takeover();
    let pinned = |world: &World| asks(&world.snapshot)["uid-chat"].1.clone();
    assert_eq!(pinned(&world).as_deref(), Some("v1"));
    world.edit("chat", |spec| {
        spec.replicas = 2;
        spec.quantization = "Q4_1".to_owned();
    });
    Arc::make_mut(&mut world.snapshot.models[0]).metadata.generation = Some(2);
    assert_eq!(pinned(&world).as_deref(), Some("v1"), "edited while no controller ran, but not its source");
    world.edit("chat", |spec| spec.quantization = "Q8_0".to_owned());
    assert_eq!(pinned(&world), None, "it may be in another revision");
    world.edit("chat", |spec| {
        spec.quantization = "Auto".to_owned();
        spec.source.sha256 = Some("d".repeat(64));
    });
    assert_eq!(pinned(&world), None, "what was found has no such digest");
    world.edit("chat", |spec| {
        spec.source.sha256 = None;
        spec.source.uri = "https://models/another.gguf".to_owned();
    });
    assert_eq!(pinned(&world), None);
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
