//! Where a request for a model goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_proto::engine::v1::engine_service_client::EngineServiceClient;
use hearth_proto::engine::v1::{ReplicaStats, StatsRequest};
use hearth_proto::inference::v1::ModelState;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::event::InstanceId;
use super::state::{Instance, Stage};

/// Requests that run on one instance.
#[derive(Clone, Debug)]
pub struct InFlight(Arc<watch::Sender<u32>>);

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl InFlight {
    /// How many.
    pub fn count(&self) -> u32 {
        *self.0.borrow()
    }

    /// Counts one more until the answer is dropped.
    pub fn enter(&self) -> Running {
        self.0.send_modify(|n| *n += 1);
        Running(self.clone())
    }

    /// Waits until there is none.
    pub async fn idle(&self) {
        // The sender is ours, so this cannot fail.
        let _ = self.0.subscribe().wait_for(|n| *n == 0).await;
    }
}

/// One running request.
#[derive(Debug)]
pub struct Running(InFlight);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|n| *n -= 1);
    }
}

/// A replica that takes requests.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which.
    pub instance: InstanceId,
    /// What the controller calls the replica.
    pub replica: String,
    /// The device that it is on.
    pub device: String,
    /// To its engine process.
    pub channel: Channel,
    /// What runs on it.
    pub in_flight: InFlight,
}

/// One served name, or one replica.
#[derive(Clone, Debug)]
pub struct Model {
    /// The furthest of its replicas.
    pub state: ModelState,
    /// What it is doing, in a sentence.
    pub message: String,
    /// Tokens a sequence may hold: the least of its replicas.
    pub context_tokens: u32,
    /// When to ask again, while it is not ready.
    pub retry: Duration,
    /// Those that take requests.
    pub routes: Vec<Route>,
}

/// The replicas of the set in force.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// By served name. Models of one name are one here: whoever must tell them apart asks by id.
    pub by_name: BTreeMap<String, Model>,
    /// Each replica by its id.
    pub by_id: BTreeMap<String, Model>,
}

/// Asking more often than this tells nothing new.
const RETRY_AT_LEAST: Duration = Duration::from_secs(1);
/// And less often would miss a load that went faster than it looked.
const RETRY_AT_MOST: Duration = Duration::from_secs(30);

impl Routes {
    /// Takes one instance in; `route` if it can be reached.
    pub(super) fn add(&mut self, instance: &Instance, route: Option<Route>, now: Instant) {
        if !instance.wanted {
            return;
        }
        let (state, message, retry) = describe(instance, now);
        let context_tokens = instance.spec.context_tokens.get();
        let replica = Model { state, message, context_tokens, retry, routes: Vec::from_iter(route) };
        let spec = &instance.spec;
        match self.by_name.get_mut(&spec.served_name) {
            Some(model) => model.join(&replica),
            None => drop(self.by_name.insert(spec.served_name.clone(), replica.clone())),
        }
        self.by_id.insert(spec.id.clone(), replica);
    }
}

impl Routes {
    /// What the engines say of the replicas that take requests: those that answer in time.
    pub async fn stats(&self, within: Duration) -> Vec<ReplicaStats> {
        // One of a device speaks for all that are on it.
        let routes = self.by_name.values().flat_map(|model| &model.routes);
        let by_device: BTreeMap<_, _> =
            routes.clone().map(|route| (route.device.as_str(), route.channel.clone())).collect();
        let names: BTreeMap<_, _> =
            routes.map(|route| (route.instance.engine_id(), route.replica.as_str())).collect();
        let asks = by_device.into_values().map(|channel| async move {
            let mut engine = EngineServiceClient::new(channel);
            tokio::time::timeout(within, engine.stats(StatsRequest {})).await.ok()?.ok()
        });
        let answers = futures::future::join_all(asks).await;
        let stats = answers.into_iter().flatten().flat_map(|answer| answer.into_inner().replicas);
        let named = stats.filter_map(|stats| {
            // What is being unloaded takes no requests, and is not told of.
            let replica_id = (*names.get(&stats.replica_id)?).to_owned();
            Some(ReplicaStats { replica_id, ..stats })
        });
        named.collect()
    }
}

impl Model {
    /// Takes in another replica of the same name.
    fn join(&mut self, replica: &Self) {
        if rank(replica.state) > rank(self.state) {
            (self.state, self.retry) = (replica.state, replica.retry);
            self.message.clone_from(&replica.message);
        }
        self.context_tokens = self.context_tokens.min(replica.context_tokens);
        self.routes.extend_from_slice(&replica.routes);
    }

    /// The route with the fewest requests.
    pub fn pick(&self) -> Option<&Route> {
        self.routes.iter().min_by_key(|r| r.in_flight.count())
    }
}

/// A model is as far as the furthest of its replicas.
fn rank(state: ModelState) -> u8 {
    match state {
        ModelState::Unspecified => 0,
        ModelState::Failed => 1,
        ModelState::Pending => 2,
        ModelState::Loading => 3,
        ModelState::Ready => 4,
    }
}

fn describe(instance: &Instance, now: Instant) -> (ModelState, String, Duration) {
    let wait = |progress: &super::progress::Progress| {
        progress.eta(now).unwrap_or(RETRY_AT_LEAST).clamp(RETRY_AT_LEAST, RETRY_AT_MOST)
    };
    let percent = |p: &super::progress::Progress| match p.done.saturating_mul(100).checked_div(p.total) {
        Some(percent) => format!(" ({percent} %)"),
        None => String::new(),
    };
    match &instance.stage {
        Stage::Waiting { .. } => {
            let message = match &instance.failure {
                Some(failure) => format!("is tried again soon; the last try failed: {}", failure.message),
                None => "waits for its turn".to_owned(),
            };
            (ModelState::Pending, message, RETRY_AT_LEAST)
        }
        Stage::Fetching { progress, .. } => {
            (ModelState::Loading, format!("is being fetched{}", percent(progress)), wait(progress))
        }
        Stage::Fetched => (ModelState::Loading, "waits for its turn to load".to_owned(), RETRY_AT_LEAST),
        Stage::Loading { warming: true, .. } => {
            (ModelState::Loading, "is warming up".to_owned(), RETRY_AT_LEAST)
        }
        Stage::Loading { progress, .. } => {
            (ModelState::Loading, format!("is loading{}", percent(progress)), wait(progress))
        }
        Stage::Ready => (ModelState::Ready, "is ready".to_owned(), Duration::ZERO),
        Stage::Draining { .. } | Stage::Unloading => {
            (ModelState::Pending, "is being unloaded".to_owned(), RETRY_AT_LEAST)
        }
        Stage::Failed { .. } => {
            let why = instance.failure.as_ref().map_or("", |f| f.message.as_str());
            (ModelState::Failed, format!("failed: {why}"), RETRY_AT_MOST)
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;
    use crate::spec::{Fence, tests::spec};

    fn ready(id: &str, name: &str) -> Instance {
        let mut spec = spec(id);
        name.clone_into(&mut spec.served_name);
        Instance {
            spec,
            fence: Fence { epoch: 1, generation: 1 },
            wanted: true,
            stage: Stage::Ready,
            number: 0,
            failures: 0,
            kills: 0,
            failure: None,
            found_free: None,
            file: None,
            measured: None,
        }
    }

    #[tokio::test]
    async fn replicas_of_one_name_are_told_apart_by_their_ids() {
        let mut routes = Routes::default();
        let channel = || Endpoint::from_static("http://[::]:1").connect_lazy();
        for (n, id) in [(1, "old-0"), (2, "young-0")] {
            let route = Route {
                instance: InstanceId(n),
                replica: id.to_owned(),
                device: "GPU-0".to_owned(),
                channel: channel(),
                in_flight: InFlight::default(),
            };
            routes.add(&ready(id, "chat"), Some(route), Instant::now());
        }
        assert_eq!(routes.by_name["chat"].routes.len(), 2);
        // Whatever runs on it, and whatever is idle beside it.
        let _busy = routes.by_id["young-0"].routes[0].in_flight.enter();
        assert_eq!(routes.by_id["young-0"].pick().unwrap().instance, InstanceId(2));
        assert_eq!(routes.by_id["old-0"].pick().unwrap().instance, InstanceId(1));
        assert_eq!(routes.by_name["chat"].pick().unwrap().instance, InstanceId(1));
    }

    #[tokio::test]
    async fn in_flight_counts_and_waits() {
        let in_flight = InFlight::default();
        let (a, b) = (in_flight.enter(), in_flight.enter());
        assert_eq!(in_flight.count(), 2);
        let waiting = tokio::spawn({
            let in_flight = in_flight.clone();
            async move { in_flight.idle().await }
        });
        drop((a, b));
        waiting.await.unwrap();
        in_flight.idle().await;
    }
}
