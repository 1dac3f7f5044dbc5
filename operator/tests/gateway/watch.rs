//! The edge to Kubernetes, against an API server that lists and watches as the real one does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures::StreamExt as _;
use hearth_api::meta::{CONTROLLER_LEASE, GATEWAY_SECRET};
use hearth_operator::gateway::{
    routes::index::{Change, Update},
    watch,
};
use hearth_tls::{CA_FILE, CERTIFICATE_FILE, Identity, KEY_FILE, testing::TestCa};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::harness::soon;

const MODELS: &str = "/apis/hearth.dev/v1alpha1/servedmodels";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/hearth/leases";
const SECRETS: &str = "/api/v1/namespaces/hearth/secrets";

/// An API server with these objects by path. Watches are told what the test sends.
#[derive(Clone, Default)]
struct FakeApi(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: HashMap<&'static str, Vec<Value>>,
    watches: HashMap<String, mpsc::UnboundedSender<Value>>,
    queries: Vec<String>,
    waiting: Vec<(String, tokio::sync::oneshot::Sender<()>)>,
}

impl FakeApi {
    async fn client(&self) -> Client {
        // Chosen by the process in production.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(serve).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap()
    }

    fn put(&self, path: &'static str, objects: Vec<Value>) {
        self.0.lock().unwrap().objects.insert(path, objects);
    }

    /// Waits until somebody watches, and tells them of a change.
    async fn tell(&self, path: &str, kind: &str, object: &Value) {
        let watched = {
            let mut inner = self.0.lock().unwrap();
            let (out, watched) = tokio::sync::oneshot::channel();
            if inner.watches.contains_key(path) {
                let _ = out.send(());
            } else {
                inner.waiting.push((path.to_owned(), out));
            }
            watched
        };
        soon(watched).await.unwrap();
        let event = json!({"type": kind, "object": object});
        self.0.lock().unwrap().watches[path].send(event).unwrap();
    }

    /// Ends a watch, as API servers do every few minutes, in a way that needs a new list.
    async fn expire(&self, path: &str) {
        let gone = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": "Expired", "message": "too old resource version", "code": 410,
        });
        self.tell(path, "ERROR", &gone).await;
        self.0.lock().unwrap().watches.remove(path);
    }
}

async fn serve(State(api): State<FakeApi>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut inner = api.0.lock().unwrap();
    inner.queries.push(format!("{path}?{query}"));
    if !query.contains("watch=true") {
        let items = inner.objects.get(path.as_str()).cloned().unwrap_or_default();
        let list =
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
        return Response::builder()
            .header("content-type", "application/json")
            .body(list.to_string().into())
            .unwrap();
    }
    let (events, receiver) = mpsc::unbounded_channel();
    inner.watches.insert(path.clone(), events);
    let (ready, waiting) = std::mem::take(&mut inner.waiting).into_iter().partition(|(p, _)| *p == path);
    inner.waiting = waiting;
    for (_, waiting) in ready {
        let _ = waiting.send(());
    }
    let lines = UnboundedReceiverStream::new(receiver)
        .map(|event: Value| Ok::<_, std::convert::Infallible>(format!("{event}\n")));
    Response::builder().header("content-type", "application/json").body(Body::from_stream(lines)).unwrap()
}

fn model(name: &str, served: &str) -> Value {
    json!({
        "apiVersion": "hearth.dev/v1alpha1", "kind": "ServedModel",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": "2"},
        "spec": {"source": {"uri": "hf://owner/repo"}, "servedName": served},
    })
}

#[tokio::test]
async fn lists_changes_and_lists_anew() {
    let api = FakeApi::default();
    api.put(MODELS, vec![model("a", "a"), model("b", "b")]);
    let (updates_out, mut updates) = mpsc::channel(8);
    let watch = tokio::spawn(watch::models(api.client().await, updates_out));
    let mut next = async || match soon(updates.recv()).await.unwrap() {
        Update::Models(change) => change,
        Update::Workers(change) => panic!("{change:?}"),
    };
    let Change::Replace(facts) = next().await else { panic!() };
    assert_eq!(facts.iter().map(|fact| &*fact.key.name).collect::<Vec<_>>(), ["a", "b"]);

    api.tell(MODELS, "MODIFIED", &model("a", "renamed")).await;
    let Change::Upsert(fact) = next().await else { panic!() };
    assert_eq!(fact.served_name, "renamed");
    api.tell(MODELS, "DELETED", &model("b", "b")).await;
    let Change::Remove(key) = next().await else { panic!() };
    assert_eq!(key.to_string(), "default/b");

    let mut held_up = model("a", "renamed");
    held_up["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
    api.tell(MODELS, "MODIFIED", &held_up).await;
    let Change::Remove(key) = next().await else { panic!() };
    assert_eq!(key.to_string(), "default/a", "it is unloaded, although a finalizer keeps the object");

    api.put(MODELS, vec![model("c", "c")]);
    api.expire(MODELS).await;
    let Change::Replace(facts) = next().await else { panic!() };
    assert_eq!(facts.iter().map(|fact| &*fact.key.name).collect::<Vec<_>>(), ["c"]);
    watch.abort();
}

#[tokio::test]
async fn the_leader_is_who_the_lease_names() {
    let lease = |holder: &str, renewed: u32| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": CONTROLLER_LEASE, "namespace": "hearth", "resourceVersion": renewed.to_string(),
                "annotations": {"hearth.dev/address": format!("{holder}:9092")},
            },
            "spec": {"holderIdentity": holder},
        })
    };
    let api = FakeApi::default();
    let (out, mut leader) = tokio::sync::watch::channel(None);
    let client = api.client().await;
    let watch = tokio::spawn(async move { watch::leader(client, "hearth", out).await });
    api.tell(LEASES, "ADDED", &lease("one", 1)).await;
    let found = soon(leader.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert_eq!(found.address, "one:9092");
    api.tell(LEASES, "MODIFIED", &lease("one", 2)).await;
    api.tell(LEASES, "MODIFIED", &lease("two", 3)).await;
    soon(leader.changed()).await.unwrap();
    assert_eq!(leader.borrow_and_update().clone().unwrap().holder, "two", "a renewal is no news");
    // The Role allows one name, so that is all that may be asked for.
    let queries = api.0.lock().unwrap().queries.clone();
    assert!(queries.iter().all(|query| query.contains("metadata.name%3Dhearth-controller")), "{queries:?}");
    watch.abort();
}

#[tokio::test]
async fn credentials_follow_the_secret_and_outlive_a_bad_one() {
    let ca = TestCa::new();
    let secret = |version: u32, certificate: Option<&str>| {
        let pem = ca.issue(&Identity::Gateway);
        let certificate = certificate.unwrap_or(&pem.certificate);
        let parts = [(CERTIFICATE_FILE, certificate), (KEY_FILE, &pem.key), (CA_FILE, &pem.ca)];
        let mut secret = Secret {
            data: Some(parts.map(|(name, text)| (name.to_owned(), ByteString(text.into()))).into()),
            ..Secret::default()
        };
        secret.metadata.name = Some(GATEWAY_SECRET.to_owned());
        secret.metadata.resource_version = Some(version.to_string());
        serde_json::to_value(secret).unwrap()
    };
    let api = FakeApi::default();
    api.put(SECRETS, vec![secret(1, None)]);
    let (out, mut credentials) = tokio::sync::watch::channel(None);
    let client = api.client().await;
    let watch = tokio::spawn(async move { watch::credentials(client, "hearth", out).await });
    let live = soon(credentials.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    let mut replaced = live.subscribe();
    let first = live.current();
    api.tell(SECRETS, "MODIFIED", &secret(2, Some("damaged"))).await;
    api.tell(SECRETS, "MODIFIED", &secret(3, None)).await;
    soon(replaced.changed()).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &live.current()));
    api.tell(SECRETS, "DELETED", &secret(4, None)).await;
    api.tell(SECRETS, "ADDED", &secret(5, None)).await;
    soon(replaced.changed()).await.unwrap();
    assert!(credentials.borrow().is_some());
    watch.abort();
}
