//! The controller's process: from its flags to its last word.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_source::{Policy, Sources};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, Resource};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::act::{Certificates, CertificatesError, Hands};
use super::answer::answered;
use super::args::Args;
use super::build::Owners;
use super::config::{Config, ConfigError};
use super::decide::{Ground, Memory};
use super::leader::{self, Candidate, Leadership, Timing};
use super::look::{Activity, Caches, FIRST_WAIT, Links, Resolver, SourceHeaders, WATCH_SECONDS};
use super::pace::keep_going;
use super::parts::Parts;
use super::round::{Rounds, Told};
use super::serve::{ControlServer, Probes, serve_probes};
use super::tell::Metrics;
use super::trigger::Trigger;

/// The chart's names of what owns everything.
const DEPLOYMENT: &str = "hearth-controller";
const CLUSTER_ROLE: &str = "hearth-controller";

/// The controller cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API server cannot be reached or does not know us.
    #[error("reaching the API server")]
    Client(#[source] kube::Error),
    /// What owns our objects cannot be found.
    #[error("reading the {0} that owns what the controller makes; is the chart installed?")]
    Owner(&'static str, #[source] kube::Error),
    /// A port cannot be listened on.
    #[error("listening on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The sources' client cannot be made.
    #[error("setting up the sources of models")]
    Sources(#[from] hearth_source::SetupError),
    /// The hub's address is none.
    #[error("the chart's source.hubEndpoint is {0:?}, which is no URL")]
    Hub(String),
    /// The authority cannot be had.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// A part that must run until the end ended.
    #[error("{0} ended before its time")]
    Ended(&'static str),
    /// A round hangs.
    #[error("a round was not over within {} s", .0.as_secs())]
    Stuck(Duration),
    /// Another process leads now. A fresh start forgets what only a leader knows.
    #[error("the Lease was lost")]
    LeaseLost,
}

/// Runs the controller until `stop`.
///
/// # Errors
/// When something is missing that it cannot do without. The process should end:
/// its Pod starts it again.
pub async fn run(args: Args, stop: CancellationToken) -> Result<(), ControllerError> {
    let config = Config::read(&args.config)?;
    let client = client().await.map_err(ControllerError::Client)?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let probes = Probes::new(registry);
    let mut parts = Parts::new(stop.child_token());
    let listener = listen(args.metrics_listen).await?;
    parts.spawn("the server of probes", serve_probes(probes.clone(), listener, parts.stop.clone()));

    let ground =
        Ground { owners: owners(&client, &args.namespace).await?, config, namespace: args.namespace.clone() };
    let trigger = Trigger::default();
    let (caches, filling) = Caches::start(&client, &args.namespace, &trigger);
    let until_stopped = parts.stop.clone();
    parts.spawn("the caches", async move {
        until_stopped.run_until_cancelled_owned(filling).await;
    });
    tokio::select! {
        filled = caches.filled() => filled.map_err(|_| ControllerError::Ended("the caches"))?,
        ended = parts.ended() => return ended,
    }
    probes.set_ready(true);

    let candidate = Candidate {
        identity: args.pod_name.clone(),
        address: SocketAddr::new(args.pod_ip, args.control_listen.port()).to_string(),
        namespace: args.namespace.clone(),
        owner: ground.owners.namespaced.clone(),
    };
    // The election outlives the leader's parts, so that the Lease is given back
    // only when nothing is done in its name any more.
    let resign = CancellationToken::new();
    let (leadership, campaign) =
        leader::campaign(client.clone(), candidate, Timing::default(), resign.clone());
    let campaign = tokio::spawn(campaign);
    let leader = Leader { args, client, ground, caches, trigger, metrics, leadership };
    let outcome = tokio::select! {
        outcome = leader.lead(&mut parts) => outcome,
        () = stop.cancelled() => Ok(()),
    };
    parts.end().await;
    resign.cancel();
    if campaign.await.is_err() {
        warn!("the election's task failed");
    }
    outcome
}

/// What a process needs to lead.
struct Leader {
    args: Args,
    client: Client,
    ground: Ground,
    caches: Caches,
    trigger: Trigger,
    metrics: Metrics,
    leadership: Leadership,
}

impl Leader {
    /// Waits for the leadership, and leads for as long as it lasts.
    async fn lead(self, parts: &mut Parts) -> Result<(), ControllerError> {
        let mut epochs = self.leadership.watch();
        tokio::select! {
            elected = epochs.wait_for(Option::is_some) => {
                elected.map_err(|_| ControllerError::Ended("the election"))?;
            }
            ended = parts.ended() => return ended,
        }
        let certificates = Certificates::open(&self.client, &self.ground.namespace).await?;
        let activity = Activity::default();
        let listener = listen(self.args.control_listen).await?;
        parts.spawn("the control server", {
            let server = ControlServer {
                activity: activity.clone(),
                trigger: self.trigger.clone(),
                leadership: self.leadership.clone(),
                stop: parts.stop.clone(),
            };
            let live = certificates.live();
            async move {
                if let Err(error) = server.serve(listener, live).await {
                    warn!(error = &error as &dyn std::error::Error, "the control server failed");
                }
            }
        });
        let sources = Sources::new(policy(&self.args, &self.ground.config)?)?;
        let headers = Arc::new(SourceHeaders::new(sources, self.client.clone()));
        let mut rounds = Rounds {
            links: Links::new(certificates.live(), self.trigger.clone()),
            resolver: Resolver::new(headers, self.trigger.clone(), FIRST_WAIT),
            hands: Hands::new(self.client.clone(), self.ground.namespace.clone(), self.args.pod_name.clone()),
            ground: self.ground,
            caches: self.caches,
            activity,
            certificates,
            leadership: self.leadership.clone(),
            metrics: self.metrics,
            memory: Memory::default(),
            told: Told::default(),
        };
        let rounds = keep_going(&mut rounds, &self.leadership, &self.trigger);
        tokio::select! {
            outcome = rounds => outcome,
            ended = parts.ended() => ended,
        }
    }
}

/// A client that gives a connection up on which nothing came for long after a request:
/// lists of what is watched are not timed otherwise. A watch is quiet for less, see
/// [`WATCH_SECONDS`].
async fn client() -> Result<Client, kube::Error> {
    let mut config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.read_timeout = Some(Duration::from_secs(2 * u64::from(WATCH_SECONDS)));
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

fn policy(args: &Args, config: &Config) -> Result<Policy, ControllerError> {
    let mut policy = Policy {
        allow_private: config.source.allow_private,
        extra_ca: args.extra_ca.clone(),
        claims: args.claims.clone(),
        ..Policy::default()
    };
    if !config.source.hub_endpoint.is_empty() {
        let endpoint = &config.source.hub_endpoint;
        policy.hub = endpoint.parse().map_err(|_| ControllerError::Hub(endpoint.clone()))?;
    }
    Ok(policy)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ControllerError> {
    TcpListener::bind(address).await.map_err(|error| ControllerError::Listen(address, error))
}

async fn owners(client: &Client, namespace: &str) -> Result<Owners, ControllerError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment =
        answered(deployments.get(DEPLOYMENT)).await.map_err(|e| ControllerError::Owner("Deployment", e))?;
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let role =
        answered(roles.get(CLUSTER_ROLE)).await.map_err(|e| ControllerError::Owner("ClusterRole", e))?;
    Ok(Owners { namespaced: owner(&deployment), cluster: owner(&role) })
}

fn owner<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    let meta = object.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}
