use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hearth_plan::WorkerState;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::*;
use crate::controller::build::{Holds, Owners};
use crate::controller::config::tests::example;
use crate::controller::look::{Machine, Offer};

/// What was written: the verb, the path and the object.
type Writes = Arc<Mutex<Vec<(String, String, Value)>>>;

/// An API server that takes every write and gives it back.
fn server() -> (Hands, Writes) {
    let writes = Writes::default();
    let seen = writes.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect_bytes().await?;
            let object = serde_json::from_slice(&bytes).unwrap_or_default();
            seen.lock().unwrap().push((parts.method.to_string(), parts.uri.path().to_owned(), object));
            Ok::<_, kube::Error>(http::Response::new(Body::from(bytes.to_vec())))
        }
    });
    let client = Client::new(service, "hearth");
    (Hands::new(client, "hearth".to_owned(), "controller-0".to_owned()), writes)
}

fn worker(uid: &str) -> Worker {
    let mut worker = Worker::new("box", WorkerSpec::pod("box"));
    worker.metadata.uid = Some(uid.to_owned());
    worker
}

fn snapshot() -> Snapshot {
    Snapshot {
        models: Vec::new(),
        workers: BTreeMap::new(),
        nodes: BTreeMap::new(),
        pods: Vec::new(),
        claims: BTreeMap::new(),
        secrets: BTreeMap::new(),
        runtime_classes: BTreeSet::new(),
        links: BTreeMap::new(),
        activity: BTreeMap::new(),
        heard: true,
        at: Instant::now(),
        now: Timestamp::UNIX_EPOCH,
    }
}

/// Starts the machine of `worker`, and gives the verbs, the paths and the owners of what was written.
async fn start(worker: &Worker, snapshot: &Snapshot) -> Vec<(String, String, Value)> {
    let owner = |name: &str| OwnerReference {
        name: name.to_owned(),
        uid: name.to_owned(),
        ..OwnerReference::default()
    };
    let ground = Ground {
        config: example(),
        namespace: "hearth".to_owned(),
        owners: Owners { namespaced: owner("deployment"), cluster: owner("role") },
    };
    let decision = MachineDecision {
        name: "box",
        machine: Machine { worker, offer: Offer::Cpu, pod: None, link: None },
        state: WorkerState::Parked,
        action: PodAction::Create(Holds::Cpu),
        runtime_class: None,
        idle_since: None,
    };
    let (hands, writes) = server();
    act_on(&decision, snapshot, &ground, &Certificates::invented(), &hands).await.unwrap();
    let writes = writes.lock().unwrap();
    let owner = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"].clone();
    writes.iter().map(|(verb, path, object)| (verb.clone(), path.clone(), owner(object))).collect()
}

#[tokio::test]
async fn everything_of_a_machine_goes_with_its_worker() {
    let written = start(&worker("1"), &snapshot()).await;
    let expected = [
        ("PATCH", "/api/v1/namespaces/hearth/secrets/hearth-worker-box-tls"),
        ("POST", "/api/v1/namespaces/hearth/persistentvolumeclaims"),
        ("POST", "/api/v1/namespaces/hearth/pods"),
    ];
    let expected = expected.map(|(verb, path)| (verb.to_owned(), path.to_owned(), Value::from("1")));
    assert_eq!(written, expected);
}

#[tokio::test]
async fn a_pod_waits_until_the_store_of_an_earlier_worker_is_gone() {
    let mut snapshot = snapshot();
    let claim = PersistentVolumeClaim {
        metadata: ObjectMeta {
            owner_references: owner_of_children(&worker("1")).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        ..PersistentVolumeClaim::default()
    };
    snapshot.claims.insert(child_name("box"), Arc::new(claim));
    let makes_pod =
        |written: &[(String, String, Value)]| written.iter().any(|(_, path, _)| path.ends_with("/pods"));
    assert!(makes_pod(&start(&worker("1"), &snapshot).await));
    assert!(!makes_pod(&start(&worker("2"), &snapshot).await));
}

#[tokio::test]
async fn nothing_starts_for_a_worker_that_is_being_deleted() {
    let mut worker = worker("1");
    worker.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let written = start(&worker, &snapshot()).await;
    assert!(written.iter().all(|(_, path, _)| !path.ends_with("/pods")), "{written:?}");
}
