//! Everything that was seen, at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use hearth_api::{ServedModel, Worker};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::Store;

use super::kept::Kept;
use super::{Activity, Caches, LinkState, Links, ModelActivity};

/// Everything that was seen, at one moment. What follows in a round reads this
/// and nothing else.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// ServedModels, the oldest first.
    pub models: Vec<Arc<ServedModel>>,
    /// Workers by name.
    pub workers: BTreeMap<String, Arc<Worker>>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<Node>>,
    /// Our Pods, and those of the whole cluster that hold extended resources.
    pub pods: Vec<Arc<Pod>>,
    /// Claims that we made, by name.
    pub claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    /// Secrets that we made, by name.
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// Names of the RuntimeClasses.
    pub runtime_classes: BTreeSet<String>,
    /// What the workers told, by name.
    pub links: BTreeMap<String, LinkState>,
    /// What the gateways told, by namespace and name of the model.
    pub activity: BTreeMap<(String, String), ModelActivity>,
    /// Whether any gateway tells.
    pub heard: bool,
    /// The moment, for ages.
    pub at: Instant,
    /// The moment, for people: in whole seconds, as the API server keeps times.
    pub now: Timestamp,
}

impl Snapshot {
    /// What the caches, links and gateways say now, to a leader of `epoch`.
    pub fn take(caches: &Caches, links: &Links, activity: &Activity, epoch: u64) -> Self {
        let at = Instant::now();
        let mut models = caches.models.state();
        models.sort_by_cached_key(|model| {
            (model.creation_timestamp().map(|time| time.0), model.namespace(), model.name_any())
        });
        let mut pods = caches.pods.state();
        pods.retain(|pod| pod.is_read());
        pods.sort_by_cached_key(|pod| (pod.namespace(), pod.name_any()));
        Self {
            models,
            workers: by_name(&caches.workers),
            nodes: by_name(&caches.nodes),
            pods,
            claims: by_name(&caches.claims),
            secrets: by_name(&caches.secrets),
            runtime_classes: caches.runtime_classes.state().iter().map(|class| class.name_any()).collect(),
            links: links.states(epoch),
            activity: activity.models(at),
            heard: activity.is_heard(),
            at,
            now: whole_second(Timestamp::now()),
        }
    }
}

impl Snapshot {
    /// The models that are not being deleted.
    pub fn living(&self) -> impl Iterator<Item = &Arc<ServedModel>> + Clone {
        self.models.iter().filter(|model| model.metadata.deletion_timestamp.is_none())
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn by_name<K>(store: &Store<K>) -> BTreeMap<String, Arc<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().into_iter().map(|object| (object.name_any(), object)).collect()
}
