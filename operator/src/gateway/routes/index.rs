//! The synchronous index: facts in, a snapshot of routes out.

use std::{collections::BTreeMap, sync::Arc};

use hearth_api::route::{self, Claim};

use super::{
    Replica, Route, Routes,
    facts::{ModelFact, ModelKey, ReplicaFact, WorkerFact},
};

/// A change of one kind of fact.
#[derive(Clone, Debug)]
pub enum Change<K, F> {
    /// These are all there are: what is not among them is gone.
    Replace(Vec<F>),
    /// This fact is new or has changed.
    Upsert(F),
    /// This one is gone.
    Remove(K),
}

/// A change of the cluster.
#[derive(Clone, Debug)]
pub enum Update {
    /// ServedModels.
    Models(Change<ModelKey, ModelFact>),
    /// Workers, by name.
    Workers(Change<String, WorkerFact>),
}

/// All facts, and the routes that follow from them.
///
/// Homelabs are small (tens of models), so each change recomputes every route: about a
/// microsecond a model, in return for a result that cannot depend on the order of changes.
#[derive(Debug, Default)]
pub struct Index {
    models: Table<ModelKey, ModelFact>,
    workers: Table<String, WorkerFact>,
    routes: Arc<Routes>,
}

impl Index {
    /// Takes a change in. Returns the new routes if they differ from those before.
    pub fn apply(&mut self, update: Update) -> Option<Arc<Routes>> {
        match update {
            Update::Models(change) => self.models.apply(change, |fact| fact.key.clone()),
            Update::Workers(change) => self.workers.apply(change, |fact| fact.name.clone()),
        }
        let routes = self.compute();
        if routes == *self.routes {
            return None;
        }
        self.routes = Arc::new(routes);
        Some(self.routes.clone())
    }

    fn compute(&self) -> Routes {
        let owners = route::owners_by(self.models.rows.values(), claim);
        let by_name =
            owners.into_iter().map(|(name, fact)| (name.to_owned(), Arc::new(self.route(fact)))).collect();
        Routes { by_name, synced: self.models.synced && self.workers.synced }
    }

    fn route(&self, fact: &ModelFact) -> Route {
        let ModelFact { key, created, served_name: _, context_tokens, quantization, standing, ready } = fact;
        let mut replicas: Vec<Replica> = ready
            .iter()
            .filter_map(|replica| {
                let ReplicaFact { id, worker, device, sequences } = replica.clone();
                let address = self.workers.rows.get(&worker)?.address.clone()?;
                Some(Replica { id, worker, device, address, sequences: sequences.max(1) })
            })
            .collect();
        replicas.sort();
        // Work is counted by replica, so none may appear twice.
        replicas.dedup_by(|a, b| a.id == b.id);
        Route {
            key: key.clone(),
            created: *created,
            context_tokens: *context_tokens,
            quantization: quantization.clone(),
            standing: standing.clone(),
            replicas,
        }
    }
}

fn claim(fact: &ModelFact) -> Claim<'_> {
    let ModelKey { namespace, name } = &fact.key;
    Claim { served_name: &fact.served_name, created: fact.created, namespace, name }
}

#[derive(Debug)]
struct Table<K, F> {
    rows: BTreeMap<K, F>,
    synced: bool,
}

impl<K, F> Default for Table<K, F> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), synced: false }
    }
}

impl<K: Ord, F> Table<K, F> {
    fn apply(&mut self, change: Change<K, F>, key: impl Fn(&F) -> K) {
        match change {
            Change::Replace(facts) => {
                self.rows = facts.into_iter().map(|fact| (key(&fact), fact)).collect();
                self.synced = true;
            }
            Change::Upsert(fact) => {
                self.rows.insert(key(&fact), fact);
            }
            Change::Remove(key) => {
                self.rows.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::routes::facts::{Progress, Standing};

    fn model(name: &str, served: &str, created: i64, workers: &[&str]) -> ModelFact {
        ModelFact {
            key: ModelKey { namespace: "default".into(), name: name.into() },
            created: Timestamp::from_second(created).unwrap(),
            served_name: served.into(),
            context_tokens: 8192,
            quantization: "Q4_1".into(),
            standing: Standing::Pending(Progress::saying("waiting for a plan")),
            ready: workers
                .iter()
                .map(|worker| ReplicaFact {
                    id: format!("{name}-{worker}"),
                    worker: (*worker).into(),
                    device: "cpu".into(),
                    sequences: 4,
                })
                .collect(),
        }
    }

    fn worker(name: &str, address: Option<&str>) -> WorkerFact {
        WorkerFact { name: name.into(), address: address.map(Into::into) }
    }

    #[test]
    fn the_oldest_model_owns_a_name() {
        let mut index = Index::default();
        index.apply(Update::Models(Change::Upsert(model("young", "chat", 20, &[]))));
        let routes = index.apply(Update::Models(Change::Upsert(model("old", "chat", 10, &[])))).unwrap();
        assert_eq!(routes.get("chat").unwrap().key.name, "old");
        let gone = ModelKey { namespace: "default".into(), name: "old".into() };
        let routes = index.apply(Update::Models(Change::Remove(gone))).unwrap();
        assert_eq!(routes.get("chat").unwrap().key.name, "young");
    }

    #[test]
    fn a_replica_is_routed_to_while_its_worker_has_an_address() {
        let mut index = Index::default();
        let routes = index.apply(Update::Models(Change::Upsert(model("m", "m", 1, &["box"])))).unwrap();
        assert!(!routes.get("m").unwrap().is_ready());
        let routes =
            index.apply(Update::Workers(Change::Upsert(worker("box", Some("10.0.0.1:9090"))))).unwrap();
        assert_eq!(routes.get("m").unwrap().replicas[0].address, "10.0.0.1:9090");
        let routes = index.apply(Update::Workers(Change::Upsert(worker("box", None)))).unwrap();
        assert!(!routes.get("m").unwrap().is_ready());
    }

    #[test]
    fn a_change_that_changes_nothing_is_not_told() {
        let mut index = Index::default();
        assert!(index.apply(Update::Models(Change::Upsert(model("m", "m", 1, &[])))).is_some());
        assert!(index.apply(Update::Models(Change::Upsert(model("m", "m", 1, &[])))).is_none());
        assert!(index.apply(Update::Workers(Change::Upsert(worker("idle", Some("a:1"))))).is_none());
    }

    #[test]
    fn synced_needs_both_lists() {
        let mut index = Index::default();
        assert!(index.apply(Update::Models(Change::Replace(vec![]))).is_none());
        let routes = index.apply(Update::Workers(Change::Replace(vec![]))).unwrap();
        assert!(routes.is_synced());
    }

    fn updates() -> impl Strategy<Value = Vec<Update>> {
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let box_name = prop::sample::select(vec!["x", "y"]);
        let model_fact =
            (name.clone(), name.clone(), 0..3_i64, prop::collection::vec(box_name.clone(), 0..3))
                .prop_map(|(name, served, created, workers)| model(name, served, created, &workers));
        let worker_fact = (box_name.clone(), prop::option::of(Just("h:1")))
            .prop_map(|(name, address)| worker(name, address));
        let update = prop_oneof![
            model_fact.clone().prop_map(|fact| Update::Models(Change::Upsert(fact))),
            name.prop_map(|name| {
                Update::Models(Change::Remove(ModelKey { namespace: "default".into(), name: name.into() }))
            }),
            prop::collection::vec(model_fact, 0..3).prop_map(|facts| Update::Models(Change::Replace(facts))),
            worker_fact.clone().prop_map(|fact| Update::Workers(Change::Upsert(fact))),
            box_name.prop_map(|name| Update::Workers(Change::Remove(name.into()))),
            prop::collection::vec(worker_fact, 0..3)
                .prop_map(|facts| Update::Workers(Change::Replace(facts))),
        ];
        prop::collection::vec(update, 0..24)
    }

    proptest! {
        /// However the index came to its facts, it says what a fresh one says of the same facts,
        /// and every snapshot it withheld equals the one before.
        #[test]
        fn the_path_does_not_matter(updates in updates()) {
            let mut index = Index::default();
            let mut told = Arc::new(Routes::default());
            for update in updates {
                if let Some(routes) = index.apply(update) {
                    told = routes;
                }
                for (_, route) in told.iter() {
                    for replica in &route.replicas {
                        let fact = &index.workers.rows[&replica.worker];
                        prop_assert_eq!(fact.address.as_ref(), Some(&replica.address));
                    }
                }
            }
            let mut fresh = Index::default();
            for fact in index.workers.rows.values() {
                fresh.apply(Update::Workers(Change::Upsert(fact.clone())));
            }
            for fact in index.models.rows.values().rev() {
                fresh.apply(Update::Models(Change::Upsert(fact.clone())));
            }
            fresh.models.synced = index.models.synced;
            fresh.workers.synced = index.workers.synced;
            prop_assert_eq!(fresh.compute(), (*told).clone());
        }

        /// No younger object ever holds a name that an older one asks for.
        #[test]
        fn no_younger_owner(updates in updates()) {
            let mut index = Index::default();
            for update in updates {
                index.apply(update);
            }
            for fact in index.models.rows.values() {
                let owner = index.routes.get(&fact.served_name).unwrap();
                prop_assert!(owner.created <= fact.created);
            }
        }
    }
}
