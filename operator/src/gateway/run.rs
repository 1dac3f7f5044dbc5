//! Puts the parts together and stops them in order.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use anyhow::Context as _;
use hearth_tls::{DialOptions, Live};
use kube::Client;
use tokio::{
    net::TcpListener,
    select,
    sync::{mpsc, watch},
    task::{self, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    args::Args,
    dispatch::Dispatch,
    forward::Forwarder,
    grpc, http,
    leader::Leader,
    ledger::Ledger,
    lifecycle::Lifecycle,
    memory::Memory,
    metrics::Metrics,
    pool::Pool,
    report::Reporter,
    routes::index::{Index, Update},
    watch as kubernetes,
};
use crate::process;

/// For the last word to each client, once requests are cut.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Changes of the cluster that may wait to be taken into the index. A watch waits beyond that.
const UPDATES: usize = 64;

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// When a port is taken, there is no way to the cluster, or a part dies.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("finding the way to the Kubernetes API")?;
    let grpc = TcpListener::bind(args.grpc_listen)
        .await
        .with_context(|| format!("listening for gRPC on {}", args.grpc_listen))?;
    let http = TcpListener::bind(args.http_listen)
        .await
        .with_context(|| format!("listening for HTTP on {}", args.http_listen))?;

    let (credentials_out, credentials) = watch::channel(None);
    let (leader_out, leader) = watch::channel(None);
    let (updates_out, updates) = mpsc::channel(UPDATES);
    let gateway = Gateway::new(&args, credentials, leader, updates);

    let mut watches = Parts::default();
    let namespace: Arc<str> = args.namespace.as_str().into();
    watches.spawn("watch of ServedModels", kubernetes::models(client.clone(), updates_out.clone()));
    watches.spawn("watch of Workers", kubernetes::workers(client.clone(), updates_out));
    watches.spawn("watch of the Lease", {
        let (client, namespace) = (client.clone(), namespace.clone());
        async move { kubernetes::leader(client, &namespace, leader_out).await }
    });
    watches.spawn("watch of the Secret", async move {
        kubernetes::credentials(client, &namespace, credentials_out).await
    });

    let stop = process::stopped()?.cancelled_owned();
    select! {
        result = gateway.serve(grpc, http, stop) => result,
        error = watches.death() => Err(error),
    }
}

/// The gateway without its edges: fed through channels, serving on listeners it is given.
#[derive(Debug)]
pub struct Gateway {
    forwarder: Arc<Forwarder>,
    reporter: Reporter,
    credentials: watch::Receiver<Option<Live>>,
    updates: mpsc::Receiver<Update>,
    args: Args,
}

impl Gateway {
    /// Puts the parts together.
    pub fn new(
        args: &Args,
        credentials: watch::Receiver<Option<Live>>,
        leader: watch::Receiver<Option<Leader>>,
        updates: mpsc::Receiver<Update>,
    ) -> Self {
        let ledger = Arc::new(Ledger::default());
        let pool = Arc::new(Pool::new(credentials.clone(), DialOptions::default()));
        let memory = Memory::new(args.max_held_bytes);
        let metrics = Metrics::new(ledger.clone(), credentials.clone(), memory.clone());
        let forwarder = Arc::new(Forwarder {
            dispatch: Dispatch::new(args.max_waiting.get()),
            pool: pool.clone(),
            ledger: ledger.clone(),
            metrics: Arc::new(metrics),
            memory,
            lifecycle: Arc::new(Lifecycle::default()),
            deadlines: args.deadlines(),
            max_unread: args.max_unread,
        });
        let reporter = Reporter { gateway: args.pod_name.clone(), ledger, pool, leader };
        Self { forwarder, reporter, credentials, updates, args: args.clone() }
    }

    /// What requests go through.
    pub fn forwarder(&self) -> &Arc<Forwarder> {
        &self.forwarder
    }

    /// Serves until `stop` completes; then fails readiness, takes requests a little longer,
    /// lets those that run go on up to the grace, and ends the rest with one status each.
    ///
    /// # Errors
    /// When a server or a part dies.
    pub async fn serve(
        self,
        grpc: TcpListener,
        http: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Self { forwarder, reporter, credentials, updates, args } = self;
        tracing::info!(grpc = %grpc.local_addr()?, http = %http.local_addr()?, "the gateway serves");
        let mut parts = Parts::default();
        parts.spawn("index", index(forwarder.clone(), updates));
        parts.spawn("credentials", note_credentials(forwarder.clone(), credentials));
        parts.spawn("reporter", reporter.run());

        let closing = CancellationToken::new();
        let servers = async {
            tokio::try_join!(
                async {
                    let shutdown = closing.clone().cancelled_owned();
                    grpc::serve(grpc, forwarder.clone(), shutdown).await.context("serving gRPC")
                },
                async {
                    let shutdown = closing.clone().cancelled_owned();
                    http::serve(http, forwarder.clone(), shutdown).await;
                    Ok(())
                },
            )
        };
        let order = async {
            stop.await;
            tracing::info!("stopping: no longer ready");
            forwarder.lifecycle.update(|state| state.stopping = true);
            sleep(args.stop_delay).await;
            closing.cancel();
            sleep(args.stop_grace.saturating_sub(args.stop_delay)).await;
            tracing::info!("stopping: ending the requests that still run");
            forwarder.lifecycle.cut();
            sleep(LAST_WORDS).await;
        };
        select! {
            result = servers => {
                result?;
                tracing::info!("stopped: every request has ended");
                Ok(())
            }
            () = order => {
                tracing::warn!("stopped: some clients did not take their last answer");
                Ok(())
            }
            error = parts.death() => Err(error),
        }
    }
}

/// Takes changes of the cluster into the index, and tells everyone whom they concern.
async fn index(forwarder: Arc<Forwarder>, mut updates: mpsc::Receiver<Update>) -> Infallible {
    let mut index = Index::default();
    while let Some(update) = updates.recv().await {
        let Some(routes) = index.apply(update) else { continue };
        forwarder.lifecycle.update(|state| state.synced = routes.is_synced());
        forwarder.pool.retain(&routes);
        forwarder.ledger.retain(&routes);
        forwarder.dispatch.set_routes(routes);
    }
    // Nobody watches the cluster any more; their owner notices that.
    std::future::pending().await
}

async fn note_credentials(
    forwarder: Arc<Forwarder>,
    mut credentials: watch::Receiver<Option<Live>>,
) -> Infallible {
    loop {
        let present = credentials.borrow_and_update().is_some();
        forwarder.lifecycle.update(|state| state.credentials = present);
        if credentials.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Background tasks that should never end. Dropping them ends them.
#[derive(Debug, Default)]
struct Parts {
    tasks: JoinSet<Infallible>,
    names: HashMap<task::Id, &'static str>,
}

impl Parts {
    fn spawn(&mut self, name: &'static str, part: impl Future<Output = Infallible> + Send + 'static) {
        let id = self.tasks.spawn(part).id();
        self.names.insert(id, name);
    }

    /// Waits for the first part that dies.
    async fn death(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(never)) => match never {},
            Some(Err(error)) => {
                let name = self.names.get(&error.id()).copied().unwrap_or("unknown part");
                anyhow::Error::new(error).context(format!("the {name} died"))
            }
            None => std::future::pending().await,
        }
    }
}
