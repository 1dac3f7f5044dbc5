//! Which served names exist and which replicas answer them.
//!
//! [`facts`] is what is told, [`index`] turns it into a [`Routes`] snapshot, [`objects`] reads
//! facts out of Kubernetes objects. Nothing here waits or does I/O.

pub mod facts;
pub mod index;
pub mod objects;

use std::{collections::BTreeMap, sync::Arc};

use self::facts::{ModelKey, Standing};

/// A snapshot of everything that can be named in a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    by_name: BTreeMap<String, Arc<Route>>,
    synced: bool,
}

impl Routes {
    /// The route of a served name.
    pub fn get(&self, served_name: &str) -> Option<&Arc<Route>> {
        self.by_name.get(served_name)
    }

    /// All routes, ordered by served name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Route>)> {
        self.by_name.iter().map(|(name, route)| (name.as_str(), route))
    }

    /// Whether the whole cluster has been seen: before that, a missing name means nothing.
    pub fn is_synced(&self) -> bool {
        self.synced
    }
}

/// What a served name leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The ServedModel that owns the name.
    pub key: ModelKey,
    /// When that object was created.
    pub created: jiff::Timestamp,
    /// Tokens a sequence may hold; 0 while not known.
    pub context_tokens: u32,
    /// The resolved quantization, empty while not known.
    pub quantization: String,
    /// Why there is nothing ready; without meaning while [`Route::replicas`] holds any.
    pub standing: Standing,
    /// The replicas that take requests, ordered by id.
    pub replicas: Vec<Replica>,
}

impl Route {
    /// Whether a replica takes requests now.
    pub fn is_ready(&self) -> bool {
        !self.replicas.is_empty()
    }
}

/// A replica that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// What the Worker knows it by: unique in the cluster.
    pub id: String,
    /// The Worker's object name, which is also its identity in TLS.
    pub worker: String,
    /// The uuid of the device that holds the replica.
    pub device: String,
    /// `host:port` of the Worker.
    pub address: String,
    /// Sequences that it generates at a time; at least 1.
    pub sequences: u32,
}
