//! Where models come from, and what goes wrong there.

use std::path::{Path, PathBuf};

use hearth_proto::worker::v1::{ModelFile, Replica, ReplicaState};

use crate::support::server::FileServer;
use crate::support::worker::{Options, StateDir, Worker};
use crate::support::{replica, tiny};

fn with_file(replica: Replica, change: impl FnOnce(&mut ModelFile)) -> Replica {
    let mut replica = replica;
    change(replica.file.as_mut().unwrap());
    replica
}

async fn failure(worker: &Worker, replica: Replica) -> hearth_proto::worker::v1::Failure {
    let id = replica.id.clone();
    worker.apply(1, vec![replica]).await.unwrap();
    let failed = |r: &hearth_proto::worker::v1::ReplicaStatus| r.state() == ReplicaState::Failed;
    let status = worker.until_replica("failed", &id, failed).await;
    status.failure.expect("a failed replica says why")
}

#[tokio::test]
async fn a_cut_download_is_resumed() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let third = files.bytes().len() as u64 / 3;
    files.cut_after(third + 1);
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    let status = worker.until_ready("chat").await;
    assert_eq!(status.sha256, hearth_source::Digest::of(files.bytes()).to_string());
    let resumed = files.ranges();
    assert!(resumed.iter().any(|r| r == &format!("bytes={}-", third + 1)), "{resumed:?}");
}

#[tokio::test]
async fn a_download_is_resumed_after_a_crash() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let half = files.bytes().len() as u64 / 2;
    files.stall_after(half);
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_replica("half-way", "chat", |r| r.done_bytes >= half).await;
    worker.kill().await;
    files.cut_after(0);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    worker.until_ready("chat").await;
    assert_eq!(files.ranges(), [format!("bytes={half}-")]);
}

#[tokio::test]
async fn wrong_bytes_are_said_and_not_loaded() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let wrong = with_file(replica("chat", &files.url(), files.bytes()), |f| f.sha256 = "0".repeat(64));
    let failure = failure(&worker, wrong).await;
    assert_eq!(failure.reason, "DigestMismatch");
    assert!(failure.permanent);
    assert!(failure.message.contains(&"0".repeat(64)), "{}", failure.message);
}

#[tokio::test]
async fn a_missing_file_is_said() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let missing = with_file(replica("chat", &files.url(), files.bytes()), |f| {
        f.url = f.url.replace("model.gguf", "other.gguf");
    });
    let failure = failure(&worker, missing).await;
    assert_eq!(failure.reason, "SourceNotFound");
    assert!(failure.message.contains("404"), "{}", failure.message);
}

#[tokio::test]
async fn a_file_that_is_no_model_is_said() {
    let dir = StateDir::new();
    let files = FileServer::start(b"these are not the bytes of a model".to_vec()).await;
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let failure = failure(&worker, replica("chat", &files.url(), files.bytes())).await;
    assert_eq!(failure.reason, "ModelUnusable");
    assert!(failure.permanent);
}

#[tokio::test]
async fn a_fresh_token_is_tried_at_once() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    // Nothing else contains it.
    let secret = format!("hunter2-{}", uuid::Uuid::new_v4().simple());
    files.require_token(&secret);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0).tracing()).await;
    let chat = replica("chat", &files.url(), files.bytes());
    assert_eq!(failure(&worker, chat.clone()).await.reason, "SourceUnauthorized");
    // The same set, with what it lacked.
    worker.apply(1, vec![with_file(chat, |f| f.bearer_token = secret.clone())]).await.unwrap();
    worker.until_ready("chat").await;
    assert!(worker.log().contains("TRACE"), "the log is as loud as it gets");
    assert!(!worker.log().contains(&secret), "the secret is logged");
    let holds = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    };
    let files = files_below(dir.path());
    assert!(files.iter().any(|path| path.ends_with("intent.json")), "{files:?}");
    for path in files {
        assert!(!holds(&path), "the secret is in {}", path.display());
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_mounted_claim_is_read_where_it_lies() {
    let dir = StateDir::new();
    let claims = StateDir::new();
    std::fs::create_dir(claims.join("models")).unwrap();
    let bytes = tiny();
    std::fs::write(claims.join("models/tiny.gguf"), &bytes).unwrap();
    let options = Options::simulated(2000.0).with(&["--claims-dir", claims.path().to_str().unwrap()]);
    let worker = Worker::start(dir.path(), options).await;
    let chat = replica("chat", "pvc://models/tiny.gguf", &bytes);
    worker.apply(1, vec![chat]).await.unwrap();
    worker.until_ready("chat").await;
}

#[tokio::test]
async fn an_unknown_device_is_said() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(2000.0)).await;
    let elsewhere = Replica { device_uuid: "GPU-x".into(), ..replica("chat", &files.url(), files.bytes()) };
    assert_eq!(failure(&worker, elsewhere).await.reason, "UnknownDevice");
}
