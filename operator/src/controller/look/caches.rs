//! Watch-backed caches of what the cluster holds.

use std::fmt::Debug;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hearth_api::meta::FIELD_MANAGER;
use hearth_api::{ServedModel, Worker};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::super::trigger::Trigger;

/// What the controller reads of the cluster. Each cache follows a watch.
#[derive(Debug, Clone)]
pub struct Caches {
    /// All ServedModels.
    pub models: Store<ServedModel>,
    /// All Workers.
    pub workers: Store<Worker>,
    /// All nodes.
    pub nodes: Store<Node>,
    /// All Pods of the cluster, without what is not read: other Pods hold GPUs too.
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
        let ours =
            || watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
        let all = watcher::Config::default;
        let mut drivers = FuturesUnordered::new();
        let mut drive = |driver: BoxFuture<'static, ()>| drivers.push(driver);
        let caches = Self {
            models: follow(Api::all(client.clone()), all(), trigger, forget_fields, &mut drive),
            workers: follow(Api::all(client.clone()), all(), trigger, forget_fields, &mut drive),
            nodes: follow(Api::all(client.clone()), all(), trigger, forget_images, &mut drive),
            pods: follow(Api::all(client.clone()), all(), trigger, forget_templates, &mut drive),
            claims: follow(
                Api::namespaced(client.clone(), namespace),
                ours(),
                trigger,
                forget_fields,
                &mut drive,
            ),
            secrets: follow(
                Api::namespaced(client.clone(), namespace),
                ours(),
                trigger,
                forget_fields,
                &mut drive,
            ),
            runtime_classes: follow(Api::all(client.clone()), all(), trigger, forget_fields, &mut drive),
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

fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    trigger: &Trigger,
    forget: fn(&mut K),
    drive: &mut impl FnMut(BoxFuture<'static, ()>),
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let trigger = trigger.clone();
    let driver =
        watcher(api, config).default_backoff().modify(forget).reflect(writer).for_each(move |event| {
            match event {
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => {
                    trigger.pull();
                }
                Err(error) => warn!(
                    kind = %K::kind(&()),
                    error = &error as &dyn std::error::Error,
                    "watching failed; trying again"
                ),
            }
            std::future::ready(())
        });
    drive(driver.boxed());
    store
}

fn forget_fields<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().clear();
}

fn forget_images(node: &mut Node) {
    forget_fields(node);
    if let Some(status) = &mut node.status {
        status.images = None;
    }
}

/// Keeps of a Pod its place, its requests and its state.
fn forget_templates(pod: &mut Pod) {
    forget_fields(pod);
    let Some(spec) = &mut pod.spec else { return };
    spec.volumes = None;
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container.args = None;
        container.command = None;
        container.env = None;
        container.env_from = None;
        container.volume_mounts = None;
    }
}
