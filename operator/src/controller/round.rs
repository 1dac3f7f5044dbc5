//! One round: look, decide, build, act, tell.

use std::collections::BTreeMap;
use std::time::Instant;

use hearth_api::model::{ModelState, ServedModelStatus};
use hearth_api::worker::{WorkerState, WorkerStatus};
use kube::ResourceExt;
use tracing::{debug, warn};

use super::act::{self, ActError, Certificates, Hands};
use super::build::{AUTHORITY_SECRET, GRPC_PORT, tls_secret_name};
use super::decide::{self, Decision, Ground, Memory};
use super::leader::Leadership;
use super::look::{Activity, Caches, Links, Machine, Resolution, Resolver, Snapshot};
use super::pace::Reconcile;
use super::tell::{self, InState, Metrics, Stage};

/// Everything that the rounds of one leadership share.
pub(super) struct Rounds {
    /// What does not change.
    pub ground: Ground,
    /// What is read of the cluster.
    pub caches: Caches,
    /// What the gateways tell.
    pub activity: Activity,
    /// The connections to the workers.
    pub links: Links,
    /// The models' files.
    pub resolver: Resolver,
    /// The authority.
    pub certificates: Certificates,
    /// What writes.
    pub hands: Hands,
    /// Whether we lead.
    pub leadership: Leadership,
    /// What is counted.
    pub metrics: Metrics,
    /// What one round remembers of earlier ones.
    pub memory: Memory,
    /// Statuses as they were last written, by UID. Fresher than the caches.
    pub told: Told,
}

/// Statuses as they were last written. Forgotten now and then: what somebody else
/// wrote since is put right.
#[derive(Debug, Default)]
pub(super) struct Told {
    models: BTreeMap<String, ServedModelStatus>,
    workers: BTreeMap<String, WorkerStatus>,
}

/// What a round ended with.
#[derive(Debug)]
pub(super) struct Outcome {
    /// When to look again even if nothing is told.
    pub again: Option<Instant>,
    /// Whether something could not be done and is to be tried again soon.
    pub failed: bool,
}

impl Reconcile for Rounds {
    async fn round(&mut self, epoch: u64) -> Outcome {
        let began = Instant::now();
        self.metrics.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        let snapshot = self.look(epoch);
        self.certify(&snapshot);
        self.outbid(&snapshot, epoch);
        let resolutions = self.resolve(&snapshot);
        let decision = decide::decide(&mut self.memory, &snapshot, &resolutions, &self.ground, epoch);
        debug!(plan = ?decision.plan, "decided");
        let intended = self.tell_models(&decision, &snapshot).await;
        self.order(&decision, &intended, epoch);
        let errors = act::act(&decision, &snapshot, &self.ground, &self.certificates, &self.hands).await;
        let all_told = self.tell_workers(&decision, &snapshot).await;
        for error in &errors {
            self.report(error);
        }
        let failed = !errors.is_empty() || !all_told || intended.len() < decision.models.len();
        self.metrics.rounds.inc();
        self.metrics.round_seconds.observe(began.elapsed().as_secs_f64());
        Outcome { again: decision.again, failed }
    }

    fn forget(&mut self) {
        let Told { models, workers } = &mut self.told;
        models.clear();
        workers.clear();
    }
}

impl Rounds {
    fn look(&mut self, epoch: u64) -> Snapshot {
        let mut snapshot = Snapshot::take(&self.caches, &self.links, &self.activity, epoch);
        let machines = Machine::all(&snapshot, &self.ground.config, &self.ground.namespace);
        let address = |(name, machine): (&&str, &Machine<'_>)| {
            Some(((*name).to_owned(), machine.pod.as_ref()?.address(GRPC_PORT)?))
        };
        let addresses: BTreeMap<String, String> = machines.iter().filter_map(address).collect();
        drop(machines);
        self.links.follow(&addresses, snapshot.at);
        snapshot.links = self.links.states(epoch);
        snapshot
    }

    /// Sees to the authority and to our own certificate.
    fn certify(&mut self, snapshot: &Snapshot) {
        let secret = snapshot.secrets.get(AUTHORITY_SECRET).map(AsRef::as_ref);
        if let Err(error) = self.certificates.follow(secret) {
            warn!(error = &error as &dyn std::error::Error, "the authority's Secret is not taken over");
        }
        if let Err(error) = self.certificates.renew_own() {
            warn!(error = &error as &dyn std::error::Error, "renewing the controller's certificate failed");
        }
    }

    /// A worker that holds to another leader refuses us: the election takes an
    /// epoch that is greater than that leader's.
    fn outbid(&self, snapshot: &Snapshot, epoch: u64) {
        let greatest = snapshot.links.values().filter_map(|link| link.outbids(epoch)).max();
        if let Some(greatest) = greatest {
            self.leadership.outbid(greatest);
        }
    }

    fn resolve(&mut self, snapshot: &Snapshot) -> BTreeMap<String, Resolution> {
        let asks = decide::asks(snapshot);
        let uids: Vec<String> = asks.keys().cloned().collect();
        self.resolver.follow(asks);
        for (uid, doubt) in decide::doubts(snapshot) {
            self.resolver.doubt(uid, doubt);
        }
        uids.into_iter().map(|uid| (uid.clone(), self.resolver.resolution(&uid))).collect()
    }

    /// Writes the models' statuses, and with them what the workers will be told.
    /// Gives the UIDs of those that stand as they should.
    async fn tell_models(&mut self, decision: &Decision<'_>, snapshot: &Snapshot) -> Vec<String> {
        let mut standing = Vec::new();
        let mut states: BTreeMap<&'static str, i64> = BTreeMap::new();
        self.told.models.retain(|uid, _| decision.models.iter().any(|model| model.uid == *uid));
        for model in &decision.models {
            let cached = model.model.status.clone().unwrap_or_default();
            let before = self.told.models.get(&model.uid).unwrap_or(&cached);
            let plan = decision.plan.model(&decide::key(&model.model));
            let status = tell::model_status(model, plan, before, &snapshot.links, snapshot.at, snapshot.now);
            *states.entry(state_of_model(status.state)).or_default() += 1;
            if *before != status {
                if let Err(error) = self.hands.model_status(&model.model, &status).await {
                    warn!(
                        namespace = model.model.namespace(),
                        model = model.model.name_any(),
                        error = &error as &dyn std::error::Error,
                        "writing a ServedModel's status failed"
                    );
                    self.metrics.errors.get_or_create(&Stage { stage: "tell" }).inc();
                    continue;
                }
                self.metrics.status_writes.inc();
                let notes = tell::notes(&before.conditions, &status.conditions);
                self.hands.publish(model.model.as_ref(), notes).await;
            }
            // What workers tell is not part of an intent.
            self.memory.intents.insert(model.uid.clone(), status.replicas.clone());
            self.told.models.insert(model.uid.clone(), status);
            standing.push(model.uid.clone());
        }
        self.metrics.models.clear();
        for (state, count) in states {
            self.metrics.models.get_or_create(&InState { state }).set(count);
        }
        standing
    }

    /// Orders what was written to status, and nothing else.
    fn order(&mut self, decision: &Decision<'_>, intended: &[String], epoch: u64) {
        let mut wanted = decision.wanted.clone();
        decide::withhold(&mut wanted, &decision.models, &self.memory.intents, intended);
        let workers: Vec<String> = wanted.keys().cloned().collect();
        self.memory.orders.update(epoch, wanted);
        for worker in workers {
            if let Some(order) = self.memory.orders.of(&worker) {
                self.links.intend(&worker, order.request());
            }
        }
    }

    async fn tell_workers(&mut self, decision: &Decision<'_>, snapshot: &Snapshot) -> bool {
        let mut all = true;
        let mut states: BTreeMap<&'static str, i64> = BTreeMap::new();
        for machine in &decision.machines {
            let worker = machine.machine.worker;
            let Some(uid) = worker.uid() else { continue };
            let cached = worker.status.clone().unwrap_or_default();
            let before = self.told.workers.get(&uid).unwrap_or(&cached);
            let models = decision.wanted.get(machine.name).map_or(0, Vec::len);
            let expiry =
                snapshot.secrets.get(&tls_secret_name(machine.name)).and_then(|secret| act::expiry(secret));
            let status = tell::worker_status(machine, before, models, expiry, snapshot.now);
            *states.entry(state_of_worker(status.state)).or_default() += 1;
            if *before != status {
                if let Err(error) = self.hands.worker_status(worker, &status).await {
                    warn!(
                        worker = machine.name,
                        error = &error as &dyn std::error::Error,
                        "writing a Worker's status failed"
                    );
                    self.metrics.errors.get_or_create(&Stage { stage: "tell" }).inc();
                    all = false;
                    continue;
                }
                self.metrics.status_writes.inc();
                let notes = tell::notes(&before.conditions, &status.conditions);
                self.hands.publish(worker, notes).await;
            }
            self.told.workers.insert(uid, status);
        }
        self.metrics.workers.clear();
        for (state, count) in states {
            self.metrics.workers.get_or_create(&InState { state }).set(count);
        }
        all
    }

    fn report(&self, error: &ActError) {
        self.metrics.errors.get_or_create(&Stage { stage: "act" }).inc();
        warn!(error = error as &dyn std::error::Error, "acting failed; it is tried again");
    }
}

fn state_of_model(state: Option<ModelState>) -> &'static str {
    match state {
        None | Some(ModelState::Pending) => "Pending",
        Some(ModelState::Invalid) => "Invalid",
        Some(ModelState::Resolving) => "Resolving",
        Some(ModelState::Waiting) => "Waiting",
        Some(ModelState::Starting) => "Starting",
        Some(ModelState::Fetching) => "Fetching",
        Some(ModelState::Loading) => "Loading",
        Some(ModelState::Ready) => "Ready",
        Some(ModelState::Failed) => "Failed",
        Some(ModelState::Stopped) => "Stopped",
    }
}

fn state_of_worker(state: Option<WorkerState>) -> &'static str {
    match state {
        None | Some(WorkerState::Parked) => "Parked",
        Some(WorkerState::Starting) => "Starting",
        Some(WorkerState::Ready) => "Ready",
        Some(WorkerState::Draining) => "Draining",
        Some(WorkerState::Gone) => "Gone",
    }
}
