//! Who may do what, with certificates.

use hearth_proto::inference::v1::ListModelsRequest;
use hearth_proto::inference::v1::inference_service_client::InferenceServiceClient;
use hearth_proto::worker::v1::worker_service_client::WorkerServiceClient;
use hearth_proto::worker::v1::{ApplyRequest, WatchRequest};
use hearth_tls::testing::TestCa;
use hearth_tls::{DialOptions, Identity, dial};
use tonic::Code;

use crate::support::fence;
use crate::support::worker::{Options, StateDir, Worker};

#[tokio::test]
async fn roles_decide() {
    let (dir, tls, ca) = (StateDir::new(), StateDir::new(), TestCa::new());
    let identity = Identity::worker("box").unwrap();
    ca.issue(&identity).write(tls.path());
    let options = Options::simulated(2000.0).with_tls(tls.path()).with(&["--name", "box"]);
    let worker = Worker::start(dir.path(), options).await;
    let channel = |who: &Identity| {
        dial(worker.grpc.to_string(), identity.clone(), &ca.live(who), &DialOptions::default())
    };
    let apply = || ApplyRequest { fence: fence(1, 1), replicas: vec![] };

    let controller = channel(&Identity::Controller);
    WorkerServiceClient::new(controller.clone()).apply(apply()).await.unwrap();
    let mut watch =
        WorkerServiceClient::new(controller.clone()).watch(WatchRequest {}).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().applied, fence(1, 1));
    InferenceServiceClient::new(controller).list_models(ListModelsRequest {}).await.unwrap();

    let gateway = channel(&Identity::Gateway);
    let denied = WorkerServiceClient::new(gateway.clone()).apply(apply()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    InferenceServiceClient::new(gateway).list_models(ListModelsRequest {}).await.unwrap();

    let other = channel(&Identity::worker("other").unwrap());
    let denied = InferenceServiceClient::new(other).list_models(ListModelsRequest {}).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);

    let plain = worker.inference().list_models(ListModelsRequest {}).await.unwrap_err();
    assert_ne!(plain.code(), Code::Ok);
}

#[tokio::test]
async fn another_workers_certificate_is_noticed_at_the_start() {
    let (dir, tls, ca) = (StateDir::new(), StateDir::new(), TestCa::new());
    ca.issue(&Identity::worker("other").unwrap()).write(tls.path());
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_hearth-worker"))
        .args(["serve", "--name", "box", "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
        .args(["--visible-devices", "none"])
        .arg("--state-dir")
        .arg(dir.path())
        .arg("--tls-dir")
        .arg(tls.path())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("is for spiffe://hearth/worker/other, not for spiffe://hearth/worker/box"),
        "{said}"
    );
}
