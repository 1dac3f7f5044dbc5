//! Replicas come, change and go.

use hearth_proto::inference::v1::{ListModelsRequest, ModelState};
use hearth_proto::worker::v1::{ApplyRequest, ReplicaState, WatchRequest};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::server::FileServer;
use crate::support::worker::{Options, StateDir, Worker, is_alive};
use crate::support::{collect, fence, first_delta, replica, request, tiny};

#[tokio::test]
async fn applied_then_ready_then_answering() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let before = worker.until("told", |_| true).await;
    assert_eq!(before.applied, None);
    assert_eq!(before.devices[0].free_bytes, 24 << 30);

    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    let status = worker.until_ready("chat").await;
    assert!(status.measured.is_some());
    assert_eq!(status.fence, fence(1, 1));
    let after = worker.until("memory is counted", |told| told.devices[0].free_bytes < 24 << 30).await;
    assert_eq!(after.devices[0].used_by_others_bytes, 0);

    let stream = worker.inference().generate(request("chat", "one two", 20)).await.unwrap();
    let (text, end) = collect(stream.into_inner()).await;
    assert!(!text.is_empty());
    assert_eq!(end.unwrap().usage.unwrap().completion_tokens, 20);

    let models = worker.inference().list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].name.as_str(), models[0].state()), ("chat", ModelState::Ready));

    let (status, body) = worker.get("/metrics").await;
    assert!(status.contains("200"));
    assert!(body.contains(r#"hearth_worker_tokens_total{model="chat",kind="completion"} 20"#), "{body}");
    // What the engine process says itself: the prompt's tokens, and no page is left behind.
    for line in [
        r#"hearth_worker_engine_steps_total{replica="chat",kind="computed"}"#,
        r#"hearth_worker_kv_pages{replica="chat",kind="held"} 0"#,
        r#"hearth_worker_engine_requests{replica="chat",kind="running"} 0"#,
    ] {
        assert!(body.contains(line), "{line}\n{body}");
    }
    assert!(worker.get("/healthz").await.0.contains("200"));
    assert!(worker.get("/readyz").await.0.contains("200"));
}

#[tokio::test]
async fn unloaded_when_no_longer_named() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_ready("chat").await;
    let engine = worker.engine_pids()[0];

    worker.apply(2, vec![]).await.unwrap();
    worker.until("gone", |told| told.replicas.is_empty()).await;
    worker.until("free again", |told| told.devices[0].free_bytes == 24 << 30).await;
    let unknown = worker.inference().generate(request("chat", "x", 1)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.get_details_resource_info().unwrap().resource_name, "chat");

    // Again: the file is still here, the engine process is another.
    let fetched = files.requests();
    worker.apply(3, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_ready("chat").await;
    assert_eq!(files.requests(), fetched);
    assert_ne!(worker.engine_pids().last(), Some(&engine));
    assert!(!is_alive(engine), "an engine process without a model ends");
}

#[tokio::test]
async fn a_removed_replica_finishes_what_it_began() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    // Slow, so that it still runs when the test looks, on a busy machine too.
    let worker = Worker::start(dir.path(), Options::simulated(10.0)).await;
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_ready("chat").await;
    let mut stream = worker.inference().generate(request("chat", "x", 80)).await.unwrap().into_inner();
    first_delta(&mut stream).await;

    worker.apply(2, vec![]).await.unwrap();
    let status = worker.until_replica("draining", "chat", |r| r.state() == ReplicaState::Draining).await;
    assert_eq!(status.id, "chat");
    let refused = worker.inference().generate(request("chat", "x", 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let (_, end) = collect(stream).await;
    assert_eq!(end.unwrap().usage.unwrap().completion_tokens, 80);
    worker.until("gone", |told| told.replicas.is_empty()).await;
}

#[tokio::test]
async fn two_models_share_a_device_and_one_can_change() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let (a, b) = (replica("a", &files.url(), files.bytes()), replica("b", &files.url(), files.bytes()));
    worker.apply(1, vec![a.clone(), b.clone()]).await.unwrap();
    worker.until_ready("a").await;
    worker.until_ready("b").await;
    assert_eq!(worker.engine_pids().len(), 1);
    assert_eq!(files.requests(), 1, "one file, one fetch");

    let longer = hearth_proto::worker::v1::Replica { context_tokens: 4096, ..a };
    worker.apply(2, vec![longer, b]).await.unwrap();
    let mut touched = false;
    let told = worker
        .until("reloaded", |told| {
            let ready = |id| told.replicas.iter().find(|r| r.id == id && r.state() == ReplicaState::Ready);
            touched |= ready("b").is_none();
            ready("a").is_some_and(|a| a.fence == fence(1, 2))
        })
        .await;
    assert!(!touched, "the other one served throughout");
    assert!(told.replicas.iter().all(|r| r.fence == fence(1, 2)), "{told:?}");
    assert_eq!(worker.engine_pids().len(), 1);
}

#[tokio::test]
async fn an_older_or_conflicting_set_is_refused() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let set = vec![replica("chat", &files.url(), files.bytes())];
    worker.apply(5, set.clone()).await.unwrap();
    worker.apply(5, set.clone()).await.expect("the same again is welcome");

    let older = worker.apply(4, vec![]).await.unwrap_err();
    assert_eq!(older.code(), Code::FailedPrecondition);
    assert_eq!(
        older.message(),
        "the set (epoch 1, generation 4) is older than the one in force, (epoch 1, generation 5)"
    );
    let conflict = worker.apply(5, vec![]).await.unwrap_err();
    assert_eq!(conflict.code(), Code::FailedPrecondition);
    let status = worker.until_ready("chat").await;
    assert_eq!(status.fence, fence(1, 5));

    // A later epoch wins whatever its generation.
    let request = ApplyRequest { fence: fence(2, 1), replicas: vec![] };
    worker.control().apply(request).await.unwrap();
    worker.until("emptied", |told| told.replicas.is_empty() && told.applied == fence(2, 1)).await;
}

#[tokio::test]
async fn a_restarted_worker_restores_the_set_alone() {
    let dir = StateDir::new();
    let files = FileServer::start(tiny()).await;
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    worker.apply(3, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_ready("chat").await;
    let engine = worker.engine_pids()[0];
    worker.kill().await;

    // Nothing to fetch from, nobody to apply.
    drop(files);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    worker.until_ready("chat").await;
    let told = worker.until("told", |_| true).await;
    assert_eq!(told.applied, fence(1, 3));
    assert!(!is_alive(engine), "an engine process ends with its worker, however that ended");
    let stream = worker.inference().generate(request("chat", "x", 3)).await.unwrap();
    collect(stream.into_inner()).await.1.unwrap();
    let older = worker.apply(2, vec![]).await.unwrap_err();
    assert_eq!(older.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_signal_lets_requests_finish_and_refuses_new_ones() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    // Slow, so that it still runs when the test looks, on a busy machine too.
    let options = Options::simulated(10.0).with(&["--drain-timeout", "60s"]);
    let mut worker = Worker::start(dir.path(), options).await;
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_ready("chat").await;
    let engine = worker.engine_pids()[0];
    let mut client = worker.inference();
    let mut stream = client.generate(request("chat", "x", 100)).await.unwrap().into_inner();
    first_delta(&mut stream).await;
    let mut watch = worker.control().watch(WatchRequest {}).await.unwrap().into_inner();
    let mut health = tonic_health::pb::health_client::HealthClient::new(worker.channel());

    worker.signal("-TERM");
    worker.until("draining", |told| told.draining).await;
    let refused = client.generate(request("chat", "x", 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(worker.apply(2, vec![]).await.unwrap_err().code(), Code::Unavailable);
    let check = health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(check.status(), tonic_health::pb::health_check_response::ServingStatus::NotServing);
    assert!(worker.get("/readyz").await.0.contains("503"));

    let (_, end) = collect(stream).await;
    assert_eq!(end.unwrap().usage.unwrap().completion_tokens, 100);
    while watch.message().await.expect("the watch ends without an error").is_some() {}
    assert_eq!(worker.exited().await.code(), Some(0), "{}", worker.log());
    assert!(!is_alive(engine));
}

#[tokio::test]
async fn a_request_that_does_not_finish_in_time_gets_one_status() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let mut worker =
        Worker::start(dir.path(), Options::simulated(10.0).with(&["--drain-timeout", "300ms"])).await;
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_ready("chat").await;
    let mut stream = worker.inference().generate(request("chat", "x", 1000)).await.unwrap().into_inner();
    first_delta(&mut stream).await;
    worker.signal("-TERM");
    let (_, end) = collect(stream).await;
    assert_eq!(end.unwrap_err().code(), Code::Aborted);
    assert_eq!(worker.exited().await.code(), Some(0));
}
