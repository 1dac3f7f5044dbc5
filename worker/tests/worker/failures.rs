//! Engine processes that die.

use hearth_proto::worker::v1::ReplicaState;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::server::FileServer;
use crate::support::worker::{Options, StateDir, Worker, kill};
use crate::support::{collect, first_delta, replica, request, tiny};

#[tokio::test]
async fn a_killed_engine_costs_its_requests_and_comes_back() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(50.0)).await;
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_ready("chat").await;
    let mut stream = worker.inference().generate(request("chat", "x", 1000)).await.unwrap().into_inner();
    first_delta(&mut stream).await;

    let first = worker.engine_pids()[0];
    kill("-KILL", first);
    let (_, end) = collect(stream).await;
    let status = end.unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "{status:?}");

    let down = worker.until_replica("reloading", "chat", |r| r.failure.is_some()).await;
    let failure = down.failure.unwrap();
    assert_eq!(failure.reason, "EngineKilled");
    assert_eq!(failure.message, "the engine process was ended by signal 9");
    // Not ready is said with a time to come back, not as an unknown model.
    if let Err(status) = worker.inference().generate(request("chat", "x", 1)).await {
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.get_details_retry_info().is_some());
    }
    let back = worker.until_ready("chat").await;
    assert_eq!(back.failure, None);
    let stream = worker.inference().generate(request("chat", "x", 5)).await.unwrap();
    collect(stream.into_inner()).await.1.unwrap();
    assert_eq!(worker.engine_pids().len(), 2);
    let (_, metrics) = worker.get("/metrics").await;
    let count = r#"hearth_worker_engine_ends_total{device="sim",reason="EngineKilled"} 1"#;
    assert!(metrics.contains(count), "{metrics}");
}

#[tokio::test]
async fn an_engine_that_cannot_start_is_said_on_the_replica_and_the_device() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    // No engine accepts a speed of nothing.
    let worker = Worker::start(dir.path(), Options::simulated(0.0)).await;
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    let told = worker.until("unhealthy", |told| !told.devices[0].healthy).await;
    assert!(told.devices[0].message.contains("in a row"), "{}", told.devices[0].message);
    assert!(told.devices[0].message.contains("decode_tokens_per_second"), "{}", told.devices[0].message);
}

#[tokio::test]
async fn a_model_too_big_for_the_device_is_said_and_disturbs_nobody() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated_with(200 << 20, 2000.0)).await;
    let small = replica("small", &files.url(), files.bytes());
    worker.apply(1, vec![small.clone()]).await.unwrap();
    worker.until_ready("small").await;
    let mut big = replica("big", &files.url(), files.bytes());
    (big.context_tokens, big.sequences) = (4096, 4096);
    worker.apply(2, vec![small, big]).await.unwrap();
    let status = worker.until_replica("refused", "big", |r| r.failure.is_some()).await;
    assert_eq!(status.failure.unwrap().reason, "OutOfMemory");
    assert_ne!(status.state, i32::from(ReplicaState::Ready));
    let stream = worker.inference().generate(request("small", "x", 3)).await.unwrap();
    collect(stream.into_inner()).await.1.unwrap();
}
