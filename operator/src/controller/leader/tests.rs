//! The election against an API server that is made up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Candidate, Leadership, Timing, campaign, lease};

/// One Lease, with compare-and-swap, as the API server keeps it.
#[derive(Clone, Default)]
struct FakeServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    version: u64,
    down: bool,
}

impl FakeServer {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Ok::<_, std::io::Error>(server.answer(&parts.method, &body))
            }
        });
        Client::new(service, "hearth")
    }

    fn answer(&self, method: &Method, body: &[u8]) -> Response<Body> {
        let mut state = self.0.lock().unwrap();
        let refuse = |code: StatusCode| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "message": code.to_string(), "reason": code.canonical_reason().unwrap_or_default().replace(' ', ""), "code": code.as_u16()});
            Response::builder().status(code).body(Body::from(status.to_string().into_bytes())).unwrap()
        };
        if state.down {
            return refuse(StatusCode::SERVICE_UNAVAILABLE);
        }
        if method != Method::GET {
            let mut lease: Lease = serde_json::from_slice(body).unwrap();
            let there = state.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            if lease.metadata.resource_version != there {
                return refuse(StatusCode::CONFLICT);
            }
            state.version += 1;
            lease.metadata.resource_version = Some(state.version.to_string());
            state.lease = Some(lease);
        }
        match &state.lease {
            Some(lease) => Response::new(Body::from(serde_json::to_vec(lease).unwrap())),
            None => refuse(StatusCode::NOT_FOUND),
        }
    }

    fn record(&self) -> super::election::Record {
        lease::record(self.0.lock().unwrap().lease.as_ref().unwrap())
    }
}

struct Running {
    leadership: Leadership,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn run(server: &FakeServer, identity: &str) -> Running {
    let candidate = Candidate {
        identity: identity.to_owned(),
        address: format!("{identity}:9092"),
        namespace: "hearth".to_owned(),
        owner: OwnerReference::default(),
    };
    let timing = Timing {
        lease: Duration::from_millis(600),
        renew_deadline: Duration::from_millis(400),
        retry: Duration::from_millis(40),
    };
    let stop = CancellationToken::new();
    let (leadership, driver) = campaign(server.client(), candidate, timing, stop.clone());
    Running { leadership, stop, task: tokio::spawn(driver) }
}

impl Running {
    async fn until(&self, wanted: impl Fn(Option<u64>) -> bool) -> Option<u64> {
        let mut epochs = self.leadership.watch();
        let waiting = epochs.wait_for(|epoch| wanted(*epoch));
        *tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("in vain").unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn one_leads_and_the_other_follows_when_the_lease_is_given_back() {
    let server = FakeServer::default();
    let first = run(&server, "a");
    assert_eq!(first.until(|epoch| epoch.is_some()).await, Some(1));
    let second = run(&server, "b");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(second.leadership.epoch(), None);
    first.end().await;
    assert_eq!(server.record().holder, None);
    assert_eq!(second.until(|epoch| epoch.is_some()).await, Some(2));
    second.end().await;
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_and_a_greater_epoch_follows() {
    let server = FakeServer::default();
    let first = run(&server, "a");
    first.until(|epoch| epoch == Some(1)).await;
    server.0.lock().unwrap().down = true;
    first.until(|epoch| epoch.is_none()).await;
    server.0.lock().unwrap().down = false;
    assert_eq!(first.until(|epoch| epoch.is_some()).await, Some(1), "nobody led in between");
    first.task.abort();
    let second = run(&server, "b");
    assert_eq!(
        second.until(|epoch| epoch.is_some()).await,
        Some(2),
        "after the Lease did not change for long"
    );
    second.leadership.outbid(40);
    assert_eq!(second.until(|epoch| epoch != Some(2)).await, Some(41));
    second.end().await;
}
