//! Watch-backed caches of what the cluster holds.

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hearth_api::meta::FIELD_MANAGER;
use hearth_api::{ServedModel, Worker};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tracing::warn;

use super::super::trigger::Trigger;
use super::kept::{Kept, shrink};

/// For so long a watch is held open before it is begun anew where it was: a connection
/// that was lost in silence is noticed by then, and not only after the client's five
/// minutes.
pub const WATCH_SECONDS: u32 = 45;

/// What the controller reads of the cluster. Each cache follows a watch, and holds
/// nothing of an object but what is read of it.
#[derive(Debug, Clone)]
pub struct Caches {
    /// All ServedModels.
    pub models: Store<ServedModel>,
    /// All Workers.
    pub workers: Store<Worker>,
    /// All nodes.
    pub nodes: Store<Node>,
    /// All Pods of the cluster: others hold GPUs too.
    pub pods: Store<Pod>,
    /// The claims of worker stores.
    pub claims: Store<PersistentVolumeClaim>,
    /// The Secrets that the controller made.
    pub secrets: Store<Secret>,
    /// All RuntimeClasses.
    pub runtime_classes: Store<RuntimeClass>,
}

/// The caches stopped for good.
#[derive(Debug, thiserror::Error)]
#[error("a cache of the cluster was dropped before it was filled")]
pub struct CachesGone;

impl Caches {
    /// The caches, and the future that fills them: it never ends by itself.
    pub fn start(client: &Client, namespace: &str, trigger: &Trigger) -> (Self, BoxFuture<'static, ()>) {
        let all = || watcher::Config::default().timeout(WATCH_SECONDS);
        let ours = || all().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
        let mut drivers = FuturesUnordered::new();
        let cluster = Whence { client, ours: namespace, trigger };
        let caches = Self {
            models: cluster.follow(Api::all, all(), &mut drivers),
            workers: cluster.follow(Api::all, all(), &mut drivers),
            nodes: cluster.follow(Api::all, all(), &mut drivers),
            pods: cluster.follow(Api::all, all(), &mut drivers),
            claims: cluster.follow(|client| Api::namespaced(client, namespace), ours(), &mut drivers),
            secrets: cluster.follow(|client| Api::namespaced(client, namespace), ours(), &mut drivers),
            runtime_classes: cluster.follow(Api::all, all(), &mut drivers),
        };
        let driver = async move { while drivers.next().await.is_some() {} };
        (caches, driver.boxed())
    }

    /// Until every cache was filled once.
    ///
    /// # Errors
    /// When the future that fills them is gone.
    pub async fn filled(&self) -> Result<(), CachesGone> {
        let Self { models, workers, nodes, pods, claims, secrets, runtime_classes } = self;
        let outcome = tokio::try_join!(
            models.wait_until_ready(),
            workers.wait_until_ready(),
            nodes.wait_until_ready(),
            pods.wait_until_ready(),
            claims.wait_until_ready(),
            secrets.wait_until_ready(),
            runtime_classes.wait_until_ready(),
        );
        outcome.map(drop).map_err(|_| CachesGone)
    }
}

/// Where the caches are filled from, and who hears of news.
struct Whence<'a> {
    client: &'a Client,
    ours: &'a str,
    trigger: &'a Trigger,
}

impl Whence<'_> {
    /// A cache, and in `drivers` what fills it.
    fn follow<K: Kept>(
        &self,
        api: impl FnOnce(Client) -> Api<K>,
        config: watcher::Config,
        drivers: &mut FuturesUnordered<BoxFuture<'static, ()>>,
    ) -> Store<K> {
        let (store, mut writer) = reflector::store();
        let (trigger, ours) = (self.trigger.clone(), self.ours.to_owned());
        let before = store.clone();
        let events = watcher(api(self.client.clone()), config).default_backoff();
        let driver = events.modify(move |object| shrink(object, &ours)).for_each(move |event| {
            match event {
                Ok(event) => {
                    let is_news = is_news(&before, &event);
                    writer.apply_watcher_event(&event);
                    if is_news {
                        trigger.pull();
                    }
                }
                Err(error) => warn!(
                    kind = %K::kind(&()),
                    error = &error as &dyn std::error::Error,
                    "watching failed; trying again"
                ),
            }
            std::future::ready(())
        });
        drivers.push(driver.boxed());
        store
    }
}

/// Whether anything that is read is another after `event`.
fn is_news<K: Kept>(before: &Store<K>, event: &watcher::Event<K>) -> bool {
    match event {
        watcher::Event::Init | watcher::Event::InitApply(_) => false,
        watcher::Event::InitDone => true,
        watcher::Event::Delete(object) => object.is_read(),
        watcher::Event::Apply(object) => {
            let before = before.get(&ObjectRef::from_obj(object)).filter(|before| before.is_read());
            before.as_deref() != Some(object).filter(|object| object.is_read())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, gpus: &str, phase: &str) -> Pod {
        let mut pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "box", "containers": [
                {"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus}}}]},
            "status": {"phase": phase, "podIP": phase},
        }))
        .unwrap();
        shrink(&mut pod, "hearth");
        pod
    }

    #[test]
    fn only_what_is_read_is_news() {
        use watcher::Event;
        let (store, mut writer) = reflector::store();
        let mut told = |event: Event<Pod>| {
            let is_news = is_news(&store, &event);
            writer.apply_watcher_event(&event);
            is_news
        };
        assert!(told(Event::Apply(pod("a", "1", "Pending"))));
        assert!(!told(Event::Apply(pod("a", "1", "Pending"))));
        assert!(told(Event::Apply(pod("a", "1", "Succeeded"))));
        assert!(told(Event::Delete(pod("a", "1", "Succeeded"))));
        let plain = |phase| {
            let mut pod = pod("b", "1", phase);
            pod.spec = None;
            pod.status = None;
            pod
        };
        assert!(!told(Event::Apply(plain("Pending"))), "it holds nothing that is counted");
        assert!(!told(Event::Delete(plain("Pending"))));
        assert!(!told(Event::Init) && !told(Event::InitApply(pod("a", "1", "Running"))));
        assert!(told(Event::InitDone));
    }

    /// Every list is empty, and no watch ever says anything.
    #[tokio::test(start_paused = true)]
    async fn a_watch_that_says_nothing_is_begun_anew_within_a_minute() {
        let watches: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let seen = watches.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let body = if query.contains("watch=true") {
                assert!(query.contains(&format!("timeoutSeconds={WATCH_SECONDS}")), "{query}");
                *seen.lock().unwrap().entry(request.uri().path().to_owned()).or_default() += 1;
                axum::body::Body::from_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>())
            } else {
                let list = json!({"metadata": {"resourceVersion": "1"}, "items": []});
                axum::body::Body::from(list.to_string())
            };
            std::future::ready(Ok::<_, std::io::Error>(Response::new(body)))
        });
        let client = Client::new(service, "hearth");
        let (caches, filling) = Caches::start(&client, "hearth", &Trigger::default());
        tokio::spawn(filling);
        caches.filled().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counts = || watches.lock().unwrap().values().copied().collect::<Vec<_>>();
        assert_eq!(counts(), [1; 7]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(counts(), [2; 7]);
    }
}
