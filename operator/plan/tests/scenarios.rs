//! Named homelabs and the plans they get. Golden files lie in `snapshots/`;
//! `INSTA_UPDATE=always cargo test -p hearth-plan` rewrites them.

mod support;

use std::time::Duration;

use hearth_plan::{
    Change, Context, Device, GpuClaim, Model, ModelKey, MoveReason, Namespaces, Observed, Placement, Plan,
    RemoveReason, Requirement, Resolution, Selector, Setback, Trouble, Worker, WorkerAction, WorkerState,
    group, plan,
};
use support::*;

fn observed(workers: Vec<Worker>, models: Vec<Model>) -> Observed {
    Observed { workers, models }
}

fn action(plan: &Plan, worker: &str) -> WorkerAction {
    plan.worker(worker).expect("planned").action.clone()
}

/// A gaming box, a small server and a laptop outside the cluster.
fn homelab() -> Vec<Worker> {
    vec![
        worker("box", vec![Device { used_by_others: GIB, ..gpu("GPU-3090", "NVIDIA GeForce RTX 3090", 24) }]),
        worker("nas", vec![cpu(32)]),
        joined("mac", metal("Apple M4 Max", 48)),
    ]
}

#[test]
fn chat_and_coding_and_a_small_one() {
    let models = vec![
        Model { created: 1, ..model("chat", LLAMA_8B) },
        Model { created: 2, ..model("coder", QWEN_32B) },
        Model { created: 3, context: Context { min: 2048, max: 8192 }, ..model("tiny", SMOL) },
    ];
    let plan = plan(&observed(homelab(), models));
    insta::assert_yaml_snapshot!(plan);
}

#[test]
fn a_model_that_fits_nowhere_is_told_part_by_part() {
    let big = Model { context: Context { min: 32768, max: 40960 }, sequences: 4, ..model("big", QWEN_32B) };
    let workers = vec![
        worker("box", vec![gpu("GPU-3090", "NVIDIA GeForce RTX 3090", 24)]),
        worker("old", vec![gpu("GPU-3060", "NVIDIA GeForce RTX 3060", 12)]),
        worker("nas", vec![cpu(32)]),
        Worker { closed: true, ..worker("attic", vec![gpu("GPU-T4", "Tesla T4", 16)]) },
    ];
    let first = observed(workers, vec![model("chat", LLAMA_8B)]);
    let mut second = carried_out(first.clone(), &plan(&first));
    second.models.push(Model { created: 9, ..big });
    let plan = plan(&second);
    let groups = group(&plan.model(&ModelKey::new("default", "big")).expect("planned").rejected);
    insta::assert_yaml_snapshot!(groups);
}

#[test]
fn the_gpu_plugins_case_from_taken_to_served() {
    let workers = |free| vec![parked("box", vec![gpu("GPU-0", "NVIDIA GeForce RTX 3090", 24)], free)];
    let models = vec![model("chat", LLAMA_8B)];
    let waiting = plan(&observed(workers(0), models.clone()));
    assert_eq!(action(&waiting, "box"), WorkerAction::Keep);
    insta::assert_yaml_snapshot!(waiting.models, @r#"
    - key: default/chat
      replicas: []
      missing: 1
      rejected:
        - candidate:
            worker: box
            device: GPU-0
          reason:
            GpusTaken:
              wanted: 1
              free: 0
              holders:
                - games/doom-0
    "#);
    let rejected = &waiting.models[0].rejected[0];
    assert_eq!(
        rejected.to_string(),
        "box: the worker Pod requests 1 GPU(s), 0 are left; held by games/doom-0; it is served when they end"
    );
    let served = plan(&observed(workers(1), models));
    assert_eq!(action(&served, "box"), WorkerAction::Start);
    assert_eq!(places(&served)["chat#0"], "box/GPU-0");
}

#[test]
fn an_unhealthy_gpu_is_planned_around_and_left() {
    let gpus = |failed: Option<String>| {
        vec![worker(
            "box",
            vec![gpu("GPU-0", "RTX 3090", 24), Device { failed, ..gpu("GPU-1", "RTX 3090", 24) }],
        )]
    };
    let mut models = vec![model("chat", LLAMA_8B)];
    models[0].placement.devices = vec!["GPU-1".to_owned()];
    let first = observed(gpus(None), models);
    let mut second = carried_out(first.clone(), &plan(&first));
    second.workers = gpus(Some("Xid 79".to_owned()));
    let removed = &plan(&second).models[0].removed;
    assert_eq!(removed[0].reason, RemoveReason::NoPlace(MoveReason::NotAllowed("DeviceFailed".to_owned())));
    second.models[0].placement = Placement::default();
    let moved = plan(&second);
    assert_eq!(places(&moved)["chat#0"], "box/GPU-0");
    assert!(matches!(&moved.models[0].replicas[0].change, Change::Move { device, .. } if device == "GPU-1"));
}

#[test]
fn a_machine_nobody_measured_is_started_before_the_cpu_is_used() {
    let workers = vec![unknown("box"), worker("nas", vec![cpu(64)])];
    let mut state = observed(workers, vec![model("chat", LLAMA_8B)]);
    let first = plan(&state);
    assert_eq!(action(&first, "box"), WorkerAction::StartToMeasure);
    assert_eq!(first.models[0].measuring, ["box"]);
    assert!(first.models[0].replicas.is_empty());
    insta::assert_yaml_snapshot!(first.models[0].rejected.iter().map(ToString::to_string).collect::<Vec<_>>(), @r#"
    - box must run once before its memory is known; it is being started
    - "nas: fits on CPU-0, but box may be faster and is measured first"
    "#);
    // It can't start: the model goes to the CPU after all.
    state.workers[0].state = WorkerState::Starting;
    state.workers[0].trouble = Some(Trouble {
        reason: "Unschedulable".to_owned(),
        message: "0/2 nodes are available: 1 Insufficient nvidia.com/gpu".to_owned(),
    });
    let second = plan(&state);
    assert_eq!(places(&second)["chat#0"], "nas/CPU-0");
    assert_eq!(action(&second, "box"), WorkerAction::ParkTroubled);
}

#[test]
fn a_gpu_is_not_waited_for_where_one_as_fast_is_known() {
    let workers = vec![unknown("box"), worker("rig", vec![gpu("GPU-0", "RTX 3090", 24)])];
    let plan = plan(&observed(workers, vec![model("chat", LLAMA_8B)]));
    assert_eq!(places(&plan)["chat#0"], "rig/GPU-0");
    assert_eq!(action(&plan, "box"), WorkerAction::Keep);
}

#[test]
fn fewer_gpus_than_the_machine_has_must_be_measured() {
    let mut rig = parked("rig", vec![gpu("GPU-0", "RTX 3090", 24), gpu("GPU-1", "RTX 3060", 12)], 1);
    rig.gpus = Some(GpuClaim { wanted: 1, free: 1, holders: vec!["games/doom".to_owned()] });
    let plan = plan(&observed(vec![rig], vec![model("chat", LLAMA_8B)]));
    assert_eq!(action(&plan, "rig"), WorkerAction::StartToMeasure);
}

#[test]
fn a_higher_priority_takes_the_place_and_the_lower_goes_elsewhere() {
    let workers =
        vec![worker("box", vec![gpu("GPU-0", "NVIDIA GeForce RTX 4090", 24)]), worker("nas", vec![cpu(64)])];
    let first = observed(workers, vec![Model { created: 1, ..model("chat", LLAMA_8B) }]);
    let mut second = carried_out(first.clone(), &plan(&first));
    let coder = Model { created: 2, context: Context { min: 8192, max: 8192 }, ..model("coder", QWEN_32B) };
    second.models.push(coder.clone());
    let equal = plan(&second);
    assert_eq!(places(&equal)["chat#0"], "box/GPU-0");
    assert_eq!(equal.model(&coder.key).expect("planned").missing, 1);

    second.models[1].priority = 10;
    let higher = plan(&second);
    assert_eq!(places(&higher)["coder#0"], "box/GPU-0");
    assert_eq!(places(&higher)["chat#0"], "nas/CPU-0");
    let chat = &higher.model(&ModelKey::new("default", "chat")).expect("planned").replicas[0];
    assert!(matches!(&chat.change, Change::Move { reason: MoveReason::MadeRoom, .. }));
}

#[test]
fn a_model_returns_to_the_gpu_that_a_game_had() {
    let gpu_box =
        |free| Worker { stored: [].into(), ..parked("box", vec![gpu("GPU-0", "RTX 3090", 24)], free) };
    let mut state = observed(vec![gpu_box(0), worker("nas", vec![cpu(64)])], vec![model("chat", LLAMA_8B)]);
    let taken = plan(&state);
    assert_eq!(places(&taken)["chat#0"], "nas/CPU-0");
    state = carried_out(state, &taken);
    assert!(all_kept(&plan(&state)));
    state.workers[0] = gpu_box(1);
    let freed = plan(&state);
    assert!(all_kept(&freed), "it is served from the CPU until the box runs");
    assert_eq!(action(&freed, "box"), WorkerAction::Start);
    state = carried_out(state, &freed);
    let back = plan(&state);
    assert_eq!(places(&back)["chat#1"], "box/GPU-0");
    assert!(matches!(&back.models[0].replicas[0].change, Change::Move { reason: MoveReason::Faster, .. }));

    // It is served from the CPU until the GPU has it.
    let serves_on = |plan: &Plan| {
        let [old] = &plan.models[0].lingering[..] else { panic!("{plan:?}") };
        assert_eq!((old.ordinal, old.worker.as_str()), (0, "nas"));
        assert_eq!((plan.models[0].replicas[0].replaces, plan.models[0].missing), (Some(0), 0));
    };
    serves_on(&back);
    let loading = under_way(state, &back);
    let meanwhile = plan(&loading);
    serves_on(&meanwhile);
    assert_eq!(meanwhile.models[0].replicas[0].change, Change::Keep);
    let ready = carried_out(loading.clone(), &meanwhile);
    let ready = Observed {
        models: ready
            .models
            .into_iter()
            .map(|mut model| {
                model.current.iter_mut().for_each(|replica| replica.ready = true);
                model
            })
            .collect(),
        ..ready
    };
    let after = plan(&ready);
    assert!(after.models[0].lingering.is_empty());
    assert_eq!(after.models[0].removed[0].reason, RemoveReason::Replaced);
    assert_eq!((after.models[0].replicas[0].replaces, places(&after).len()), (None, 1));

    // The GPU is gone again before it had the model: the old replica was never away.
    let mut lost = loading;
    lost.workers[0] = gpu_box(0);
    let back = plan(&lost);
    assert_eq!(places(&back)["chat#0"], "nas/CPU-0");
    assert_eq!(back.models[0].replicas[0].change, Change::Keep);
    assert_eq!(back.models[0].removed[0].reason, RemoveReason::NotNeeded);
}

#[test]
fn who_needs_the_memory_is_not_kept_waiting_by_one_that_moves_away() {
    let fast = |free| parked("fast", vec![gpu("GPU-0", "RTX 4090", 24)], free);
    let slow = || worker("slow", vec![gpu("GPU-0", "RTX 3060", 12)]);
    let mut state = observed(vec![fast(0), slow()], vec![model("chat", LLAMA_8B)]);
    state = carried_out(state.clone(), &plan(&state));
    state.workers[0] = Worker { state: WorkerState::Ready, ..fast(1) };
    // A small one that fits beside the old replica, or one that does not.
    for (other, serves_on) in [(model("small", SMOL), true), (model("other", LLAMA_8B), false)] {
        let mut state = state.clone();
        let only_slow = Placement { devices: vec!["3060".to_owned()], ..Placement::default() };
        state.models.push(Model { created: 9, placement: only_slow, ..other });
        let plan = plan(&state);
        let chat = plan.model(&ModelKey::new("default", "chat")).expect("planned");
        assert_eq!((chat.replicas[0].worker.as_str(), !chat.lingering.is_empty()), ("fast", serves_on));
        assert_eq!(places(&plan).values().filter(|place| *place == "slow/GPU-0").count(), 1);
    }
}

#[test]
fn what_runs_does_not_end_because_its_source_is_down() {
    let first = observed(homelab(), vec![model("chat", LLAMA_8B)]);
    let mut state = carried_out(first.clone(), &plan(&first));
    state.models[0].file = Resolution::Unresolved("503".to_owned());
    let plan = plan(&state);
    assert!(all_kept(&plan));
    assert_eq!((plan.models[0].missing, plan.models[0].replicas.len()), (0, 1));
}

#[test]
fn a_place_without_eviction_is_preferred_among_equals() {
    let workers = vec![
        worker("a", vec![gpu("GPU-A", "NVIDIA GeForce RTX 4090", 24)]),
        worker("b", vec![gpu("GPU-B", "NVIDIA GeForce RTX 3090", 24)]),
    ];
    let first = observed(workers, vec![model("batch", QWEN_32B)]);
    let mut second = carried_out(first.clone(), &plan(&first));
    assert_eq!(places(&plan(&second))["batch#0"], "a/GPU-A");
    second.models.push(Model { priority: 50, ..model("chat", LLAMA_8B) });
    let plan = plan(&second);
    assert_eq!(places(&plan)["chat#0"], "b/GPU-B");
    assert_eq!(places(&plan)["batch#0"], "a/GPU-A");
}

#[test]
fn replicas_are_on_different_machines_before_different_devices() {
    let workers = vec![
        worker("a", vec![gpu("GPU-0", "RTX 3090", 24), gpu("GPU-1", "RTX 3090", 24)]),
        worker("b", vec![gpu("GPU-2", "RTX 3090", 24)]),
    ];
    let mut state = observed(workers, vec![Model { replicas: 2, ..model("chat", LLAMA_8B) }]);
    let two = plan(&state);
    assert_eq!(places(&two).into_values().collect::<Vec<_>>(), ["a/GPU-0", "b/GPU-2"]);
    state = carried_out(state, &two);
    state.models[0].replicas = 4;
    let four = plan(&state);
    assert_eq!(four.models[0].missing, 1);
    assert!(four.models[0].rejected.iter().all(|r| r.reason.name() == "HasReplica"));
    state = carried_out(state, &four);
    state.models[0].replicas = 1;
    let one = plan(&state);
    assert_eq!(one.models[0].replicas[0].ordinal, 0);
    assert_eq!(one.models[0].removed.iter().map(|r| r.ordinal).collect::<Vec<_>>(), [1, 2]);
    assert!(one.models[0].removed.iter().all(|r| r.reason == RemoveReason::ScaledDown));
}

#[test]
fn an_edit_reloads_in_place_and_a_kept_context_stays() {
    let first = observed(homelab(), vec![model("chat", LLAMA_8B)]);
    let mut state = carried_out(first.clone(), &plan(&first));
    assert_eq!(state.models[0].current[0].context, 16384);
    state.models[0].context.max = 32768;
    assert!(all_kept(&plan(&state)), "a longer context would be possible, but is no reason to reload");
    state.models[0].sequences = 2;
    let edited = plan(&state);
    assert_eq!(places(&edited)["chat#0"], "box/GPU-3090");
    assert!(matches!(
        &edited.models[0].replicas[0].change,
        Change::Move { device, reason: MoveReason::SpecChanged, .. } if device == "GPU-3090"
    ));
}

#[test]
fn a_replica_leaves_a_closed_machine_which_then_ends() {
    let first = observed(homelab(), vec![model("chat", LLAMA_8B)]);
    let mut state = carried_out(first.clone(), &plan(&first));
    state.workers[0].closed = true;
    let leaving = plan(&state);
    assert_eq!(places(&leaving)["chat#0"], "mac/METAL-0");
    assert_eq!(action(&leaving, "box"), WorkerAction::Keep);
    state = carried_out(state, &leaving);
    assert_eq!(action(&plan(&state), "box"), WorkerAction::ParkClosed);
}

#[test]
fn an_idle_machine_is_given_back_when_its_time_is_up() {
    let mut state = observed(homelab(), Vec::new());
    state.workers[0].idle_for = Duration::from_secs(1700);
    let early = plan(&state);
    assert_eq!(action(&early, "box"), WorkerAction::Keep);
    assert_eq!(early.recheck_after, Some(Duration::from_secs(100)));
    state.workers[0].idle_for = Duration::from_secs(1800);
    let due = plan(&state);
    assert_eq!(action(&due, "box"), WorkerAction::ParkIdle);
    assert_eq!(action(&due, "mac"), WorkerAction::Keep, "a machine outside the cluster is its owner's");
}

#[test]
fn what_others_use_may_eat_the_reserve_but_not_the_replica() {
    let first = observed(
        homelab(),
        vec![Model { context: Context { min: 4096, max: 131_072 }, sequences: 2, ..model("chat", LLAMA_8B) }],
    );
    let mut state = carried_out(first.clone(), &plan(&first));
    let load = plan(&state).devices[0].clone();
    assert!(load.available < GIB, "it grew into all there was: {load:?}");
    let set = |state: &mut Observed, used: u64| {
        if let hearth_plan::Devices::Known(devices) = &mut state.workers[0].devices {
            devices[0].used_by_others = used;
        }
    };
    set(&mut state, 2 * GIB);
    assert!(all_kept(&plan(&state)));
    set(&mut state, 4 * GIB);
    let shrunk = plan(&state);
    let chat = &shrunk.models[0].replicas[0];
    assert!(matches!(&chat.change, Change::Move { reason: MoveReason::MemoryShrank, .. }), "{chat:?}");
    assert!(chat.context < state.models[0].current[0].context && chat.device == "GPU-3090");
}

#[test]
fn every_static_reason_is_told() {
    let a = || worker("a", vec![gpu("GPU-A", "RTX 3090", 24)]);
    let reasons = |workers: Vec<Worker>, change: &dyn Fn(&mut Model)| {
        let mut chat = model("chat", LLAMA_8B);
        change(&mut chat);
        let plan = plan(&observed(workers, vec![chat]));
        assert_eq!(plan.models[0].missing, 1);
        plan.models[0].rejected.iter().map(|r| r.reason.name()).collect::<Vec<_>>()
    };
    let none: &dyn Fn(&mut Model) = &|_| {};
    assert_eq!(reasons(vec![Worker { closed: true, ..a() }], none), ["WorkerClosed"]);
    assert_eq!(reasons(vec![Worker { state: WorkerState::Gone, ..a() }], none), ["WorkerGone"]);
    assert_eq!(reasons(vec![Worker { state: WorkerState::Draining, ..a() }], none), ["WorkerDraining"]);
    let only_x = Namespaces::Only(["x".to_owned()].into());
    assert_eq!(reasons(vec![Worker { namespaces: only_x, ..a() }], none), ["NamespaceNotAllowed"]);
    assert_eq!(reasons(vec![Worker { store_free: Some(GIB), ..a() }], none), ["StoreFull"]);
    assert_eq!(reasons(vec![worker("a", Vec::new())], none), ["NoDevice"]);
    assert_eq!(
        reasons(vec![joined("mac", metal("M4 Max", 64))], &|m| m.placement.joined = false),
        ["JoinedDenied"]
    );
    assert_eq!(reasons(vec![a()], &|m| m.placement.devices = vec!["Cpu".to_owned()]), ["DeviceExcluded"]);
    assert_eq!(
        reasons(vec![unknown("u")], &|m| m.placement.devices = vec!["Cpu".to_owned()]),
        ["DeviceExcluded"]
    );
    let attic = Selector {
        labels: [("room".to_owned(), "attic".to_owned())].into(),
        requirements: Vec::<Requirement>::new(),
    };
    assert_eq!(reasons(vec![a()], &|m| m.placement.selector = attic.clone()), ["SelectorMismatch"]);
    assert_eq!(reasons(vec![a()], &|m| m.file = Resolution::Unresolved("404".to_owned())), ["Unresolved"]);
    assert_eq!(reasons(vec![a()], &|m| m.sequences = 100), ["InsufficientMemory"]);
}

#[test]
fn devices_are_named_by_kind_uuid_or_product() {
    let workers = || {
        vec![
            worker(
                "rig",
                vec![
                    gpu("GPU-A", "NVIDIA-GeForce-RTX-4090", 24),
                    gpu("GPU-B", "NVIDIA GeForce RTX 3090", 24),
                ],
            ),
            worker("nas", vec![cpu(64)]),
        ]
    };
    for (wanted, place) in
        [("rtx 3090", "rig/GPU-B"), ("RTX 4090", "rig/GPU-A"), ("gpu-b", "rig/GPU-B"), ("CPU", "nas/CPU-0")]
    {
        let mut chat = model("chat", LLAMA_8B);
        chat.placement.devices = vec![wanted.to_owned()];
        assert_eq!(places(&plan(&observed(workers(), vec![chat])))["chat#0"], place, "{wanted}");
    }
}

#[test]
fn a_device_that_cannot_load_a_file_is_left_for_another_if_there_is_one() {
    let rig = || vec![worker("rig", vec![gpu("GPU-A", "RTX 4090", 24), gpu("GPU-B", "RTX 3090", 24)])];
    let setback = |device: &str| Setback {
        worker: "rig".to_owned(),
        device: device.to_owned(),
        message: "no such operation".to_owned(),
    };
    let first = observed(rig(), vec![model("chat", LLAMA_8B)]);
    let decided = plan(&first);
    assert_eq!(places(&decided)["chat#0"], "rig/GPU-A");
    let mut second = carried_out(first, &decided);
    second.models[0].setbacks.push(setback("GPU-A"));
    let decided = plan(&second);
    assert_eq!(places(&decided)["chat#0"], "rig/GPU-B");
    let Change::Move { reason, .. } = &decided.models[0].replicas[0].change else { panic!("not moved") };
    assert_eq!(*reason, MoveReason::NotAllowed("LoadFailed".to_owned()));
    let mut third = carried_out(second, &decided);
    assert!(all_kept(&plan(&third)));
    third.models[0].setbacks.push(setback("GPU-B"));
    assert!(all_kept(&plan(&third)), "where it fails everywhere it is not moved about");
}
