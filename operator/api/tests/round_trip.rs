//! Objects come back from JSON as they went.

use hearth_api::{
    Duration, Quantity, ServedModel, ServedModelSpec, Worker, WorkerSpec,
    model::{
        Context, Footprint, KvType, ModelState, Preference, Progress, RejectedGroup, ReplicaState,
        ReplicaStatus, Resolved, SecretReference, ServedModelStatus, Summary,
    },
    worker::{
        Applied, DeviceKind, DeviceStatus, Gpus, Hours, Release, ReleasePolicy, Store, StoreStatus,
        WorkerState, WorkerStatus, WorkerSummary,
    },
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{LabelSelector, Time},
    jiff::Timestamp,
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("serializes");
    assert_eq!(&serde_json::from_str::<T>(&json).expect(&json), value, "{json}");
}

fn full_model() -> ServedModel {
    let mut model = ServedModel::new("chat", ServedModelSpec::new("hf://owner/repo"));
    let spec = &mut model.spec;
    spec.source.sha256 = Some("a".repeat(64));
    spec.source.secret_ref = Some(SecretReference { name: "hub".to_owned() });
    spec.served_name = Some("llama3.1:8b".to_owned());
    spec.context = Context { min: Some(1), max: Some(2) };
    spec.kv_type = KvType::Q8_0;
    spec.idle_after = Some(Duration::from_mins(30));
    spec.prefer = Preference::Quiet;
    spec.placement.worker_selector = Some(LabelSelector {
        match_labels: Some([("room".into(), "attic".into())].into()),
        ..Default::default()
    });
    spec.placement.devices = vec!["Cuda".to_owned()];
    model.status = Some(ServedModelStatus {
        observed_generation: Some(3),
        conditions: Vec::new(),
        state: Some(ModelState::Loading),
        resolved: Some(Resolved { size_bytes: Some(1 << 40), context: Some(2), ..Resolved::default() }),
        footprint: Some(Footprint { weights: 1, kv: 2, activations: 3, overhead: 4 }),
        replicas: vec![ReplicaStatus {
            ordinal: 0,
            worker: "box".to_owned(),
            device: "GPU-1".to_owned(),
            context: 2,
            sequences: 4,
            kv_type: KvType::F16,
            file: "https://host/file@abc".to_owned(),
            footprint: Footprint::default(),
            epoch: 1,
            generation: 2,
            state: ReplicaState::Loading,
            replaces: Some(1),
            progress: Some(Progress {
                percent: 5,
                done_bytes: 1,
                total_bytes: 20,
                eta: Some(Duration::from_secs(3)),
            }),
            reason: None,
            message: None,
        }],
        rejected: vec![RejectedGroup {
            reason: "StoreFull".to_owned(),
            count: 1,
            ..RejectedGroup::default()
        }],
        ready_replicas: 0,
        selector: None,
        summary: Some(Summary { model: "m".to_owned(), ..Summary::default() }),
    });
    model
}

#[test]
fn a_full_model() {
    round_trip(&full_model());
}

#[test]
fn a_full_worker() {
    let mut worker = Worker::new("box", WorkerSpec::pod("box"));
    let now = Time(Timestamp::from_second(1).expect("in range"));
    worker.spec.gpus = Gpus::Count(2);
    worker.spec.release = Release { policy: ReleasePolicy::Never, after: Duration::from_secs(0) };
    worker.spec.hours =
        vec![Hours { open: "08:00".into(), close: "23:00".into(), time_zone: "Europe/Berlin".into() }];
    worker.spec.allowed_namespaces = Some(vec!["chat".to_owned()]);
    worker.spec.store =
        Store { size: "1.5Ti".parse().expect("a size"), storage_class: Some("fast".to_owned()) };
    worker.status = Some(WorkerStatus {
        state: Some(WorkerState::Draining),
        devices: vec![DeviceStatus {
            uuid: "GPU-1".to_owned(),
            kind: DeviceKind::Cuda,
            product: "NVIDIA GeForce RTX 3090".to_owned(),
            total: 24 << 30,
            used_by_others: 1 << 30,
            free: 23 << 30,
            measured_at: Some(now.clone()),
            healthy: false,
            message: Some("Xid 79".to_owned()),
            weights: Some(hearth_api::worker::WeightStorage::Packed),
        }],
        store: Some(StoreStatus { capacity: 3, used: 2, unused: 1 }),
        applied: Some(Applied { epoch: 1, generation: 2 }),
        certificate_expiry: Some(now.clone()),
        idle_since: Some(now),
        models: 1,
        summary: Some(WorkerSummary::default()),
        ..WorkerStatus::default()
    });
    round_trip(&worker);
}

#[test]
fn the_least_that_a_person_writes() {
    let model: ServedModel = serde_yaml_ng::from_str(
        "{apiVersion: hearth.dev/v1alpha1, kind: ServedModel, metadata: {name: chat}, spec: {source: {uri: 'hf://a/b'}}}",
    )
    .expect("a ServedModel");
    assert_eq!(model.spec, ServedModelSpec::new("hf://a/b"));
    assert_eq!(model.served_name(), "chat");
    assert_eq!(model.spec.context.bounds(131_072), Ok((4096, 16384)));
    assert_eq!(model.spec.context.bounds(2048), Ok((2048, 2048)));
    let worker: Worker = serde_yaml_ng::from_str(
        "{apiVersion: hearth.dev/v1alpha1, kind: Worker, metadata: {name: box}, spec: {kind: Pod, nodeName: box, gpus: 1, reserve: 0}}",
    )
    .expect("a Worker");
    assert_eq!((worker.spec.gpus, worker.spec.reserve.bytes()), (Gpus::Count(1), 0));
}

#[test]
fn context_bounds() {
    let bounds = |min, max, own| Context { min, max }.bounds(own);
    assert_eq!(bounds(Some(8192), Some(65536), 131_072), Ok((8192, 65536)));
    assert_eq!(bounds(Some(32768), None, 131_072), Ok((32768, 32768)));
    assert_eq!(bounds(None, Some(512), 8192), Ok((512, 512)));
    for (min, max, text) in [
        (Some(9000), None, "spec.context.min: 9000: the model's own context is 8192 tokens"),
        (None, Some(9000), "spec.context.max: 9000: the model's own context is 8192 tokens"),
        (Some(0), None, "spec.context.min: 0"),
        (Some(9), Some(8), "spec.context.min: 9: above context.max, 8"),
    ] {
        let error = bounds(min, max, 8192).expect_err(text).to_string();
        assert!(error.starts_with(text), "{error}");
    }
}

proptest! {
    #[test]
    fn durations(seconds in 0u64..10_000_000_000) {
        let text = Duration::from_secs(seconds).to_string();
        prop_assert_eq!(text.parse(), Ok(Duration::from_secs(seconds)));
    }

    #[test]
    fn whatever_the_pattern_of_a_duration_lets_pass_parses(text in "([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?") {
        prop_assert!(text.is_empty() || text.parse::<Duration>().is_ok());
    }

    #[test]
    fn whatever_the_pattern_of_a_quantity_lets_pass_parses(
        text in "[0-9]{1,15}(\\.[0-9]{1,9})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?",
    ) {
        prop_assert!(text.parse::<Quantity>().is_ok(), "{}", text);
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = text.parse::<Duration>();
        let _ = text.parse::<Quantity>();
    }
}
