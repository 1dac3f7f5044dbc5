//! The edge to Kubernetes: four watches, read only, each turned into something that the rest
//! of the gateway can be tested with.

use std::{convert::Infallible, fmt::Debug, pin::pin};

use futures::StreamExt as _;
use hearth_api::meta::{CONTROLLER_LEASE, GATEWAY_SECRET};
use hearth_api::{ServedModel, Worker};
use hearth_tls::{CA_FILE, CERTIFICATE_FILE, Credentials, CredentialsError, KEY_FILE, Live};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::{
    leader::{self, Leader},
    routes::{
        index::{Change, Update},
        objects,
    },
};

/// A watch lasts this long and is then begun anew where it was: a connection that was
/// lost in silence is noticed by then, and not only after the client's five minutes.
const WATCH_SECONDS: u32 = 45;

/// Tells each change of ServedModels. One that is being deleted is gone: the controller
/// unloads its replicas at once.
pub async fn models(client: Client, updates: mpsc::Sender<Update>) -> Infallible {
    let api = Api::<ServedModel>::all(client);
    let fact = |model: &ServedModel| model.is_living().then(|| objects::model(model));
    follow(api, fact, objects::model_key, |change| {
        let updates = updates.clone();
        async move { drop(updates.send(Update::Models(change)).await) }
    })
    .await
}

/// Tells each change of Workers.
pub async fn workers(client: Client, updates: mpsc::Sender<Update>) -> Infallible {
    let api = Api::<Worker>::all(client);
    let fact = |worker: &Worker| Some(objects::worker(worker));
    follow(api, fact, Worker::name_any, |change| {
        let updates = updates.clone();
        async move { drop(updates.send(Update::Workers(change)).await) }
    })
    .await
}

/// Tells who leads the controllers.
pub async fn leader(client: Client, namespace: &str, leader: watch::Sender<Option<Leader>>) -> Infallible {
    let api = Api::<Lease>::namespaced(client, namespace);
    one(api, CONTROLLER_LEASE, |lease| {
        let found = lease.as_ref().and_then(leader::of_lease);
        // The Lease is renewed every few seconds; who leads seldom changes.
        leader.send_if_modified(|leader| {
            let changed = *leader != found;
            *leader = found;
            changed
        });
    })
    .await
}

/// Keeps the credentials that the Secret holds in force. One that is damaged or gone leaves
/// the old ones: they may well be good still.
pub async fn credentials(client: Client, namespace: &str, live: watch::Sender<Option<Live>>) -> Infallible {
    let api = Api::<Secret>::namespaced(client, namespace);
    let mut version = None;
    one(api, GATEWAY_SECRET, |secret| {
        let Some(secret) = secret else {
            tracing::warn!(secret = GATEWAY_SECRET, "the Secret with the gateway's certificate is not there");
            return;
        };
        // A watch that begins anew tells what is known already.
        if version.is_some() && version == secret.metadata.resource_version {
            return;
        }
        version = secret.metadata.resource_version.clone();
        match read_credentials(&secret) {
            Ok(credentials) => {
                tracing::info!(identity = %credentials.identity(), "took over the gateway's certificate");
                put_in_force(&live, credentials);
            }
            Err(error) => tracing::error!(secret = GATEWAY_SECRET, %error, "the Secret cannot be used"),
        }
    })
    .await
}

fn put_in_force(live: &watch::Sender<Option<Live>>, credentials: Credentials) {
    live.send_modify(|live| match live {
        Some(live) => live.replace(credentials),
        None => *live = Some(Live::new(credentials)),
    });
}

fn read_credentials(secret: &Secret) -> Result<Credentials, CredentialsError> {
    let part = |name: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map_or(&[][..], |bytes| bytes.0.as_slice())
    };
    Credentials::from_pem(part(CERTIFICATE_FILE), part(KEY_FILE), part(CA_FILE))
}

/// Watches all objects of a kind, for ever. One without a `fact` is told as gone. A list that
/// begins anew is told as a whole, so that nothing vanishes in between.
async fn follow<K, F, Key, Sent>(
    api: Api<K>,
    fact: impl Fn(&K) -> Option<F>,
    key: impl Fn(&K) -> Key,
    tell: impl Fn(Change<Key, F>) -> Sent,
) -> Infallible
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
    Sent: Future<Output = ()>,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let mut events = pin!(watcher(api, timed()).default_backoff());
    let mut listed = Vec::new();
    loop {
        match events.next().await {
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(object))) => listed.extend(fact(&object)),
            Some(Ok(Event::InitDone)) => tell(Change::Replace(std::mem::take(&mut listed))).await,
            Some(Ok(Event::Apply(object))) => {
                tell(match fact(&object) {
                    Some(fact) => Change::Upsert(fact),
                    None => Change::Remove(key(&object)),
                })
                .await;
            }
            Some(Ok(Event::Delete(object))) => tell(Change::Remove(key(&object))).await,
            Some(Err(error)) => warn(&kind, &error),
            None => std::future::pending().await,
        }
    }
}

/// Watches one object by name, for ever.
async fn one<K>(api: Api<K>, name: &str, mut tell: impl FnMut(Option<K>)) -> Infallible
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let config = timed().fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut listed = None;
    loop {
        match events.next().await {
            Some(Ok(Event::Init)) => listed = None,
            Some(Ok(Event::InitApply(object))) => listed = Some(object),
            Some(Ok(Event::InitDone)) => tell(listed.take()),
            Some(Ok(Event::Apply(object))) => tell(Some(object)),
            Some(Ok(Event::Delete(_))) => tell(None),
            Some(Err(error)) => warn(&kind, &error),
            None => std::future::pending().await,
        }
    }
}

fn timed() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

fn warn(kind: &str, error: &watcher::Error) {
    let error: &(dyn std::error::Error + 'static) = error;
    tracing::warn!(kind, error, "a watch failed and is begun anew");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::body::Body;
    use hearth_tls::{Identity, testing::TestCa};
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    /// An API server that lists one Lease and then nothing, and says nothing to a watch.
    fn silent(seen: Arc<Mutex<Vec<String>>>) -> Client {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let body = if query.contains("watch=true") {
                Body::from_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>())
            } else {
                let item = json!({"metadata": {"name": "l", "resourceVersion": "1"}});
                Body::from(json!({"metadata": {"resourceVersion": "1"}, "items": [item]}).to_string())
            };
            seen.lock().unwrap().push(query);
            std::future::ready(Ok::<_, std::io::Error>(http::Response::new(body)))
        });
        Client::new(service, "hearth")
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_says_nothing_is_begun_anew_within_a_minute() {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let api = Api::<Lease>::namespaced(silent(seen.clone()), "hearth");
        let mut told = Vec::new();
        let watching = one(api, "l", |lease| told.push(lease.is_some()));
        let _ = tokio::time::timeout(Duration::from_secs(60), watching).await;
        assert_eq!(told, [true], "a watch that is begun anew is no news");
        let seen = seen.lock().unwrap();
        assert!(seen[0].contains("metadata.name%3Dl"), "{seen:?}");
        let watches: Vec<_> = seen.iter().filter(|query| query.contains("timeoutSeconds=45")).collect();
        assert_eq!((watches.len(), seen.len()), (2, 3), "{seen:?}");
    }

    fn secret(parts: &[(&str, &str)]) -> Secret {
        let data =
            parts.iter().map(|(name, text)| ((*name).to_owned(), ByteString(text.as_bytes().to_vec())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn a_secret_becomes_credentials_and_a_new_one_replaces_them() {
        let ca = TestCa::new();
        let pem = ca.issue(&Identity::Gateway);
        let parts = [(CERTIFICATE_FILE, &*pem.certificate), (KEY_FILE, &*pem.key), (CA_FILE, &*pem.ca)];
        let live = watch::Sender::new(None);
        put_in_force(&live, read_credentials(&secret(&parts)).unwrap());
        let first = live.borrow().clone().unwrap();
        let before = first.current();
        put_in_force(&live, ca.credentials(&Identity::Gateway));
        assert!(!Arc::ptr_eq(&before, &first.current()), "those who hold it see the new one");
        assert!(read_credentials(&secret(&parts[..2])).is_err());
        assert!(read_credentials(&Secret::default()).is_err());
    }
}
