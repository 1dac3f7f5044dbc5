//! `hearth-worker serve`: everything put together, and taken apart again.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use hearth_source::Policy;
use hearth_tls::plain::{self, Limits, Protocol};
use hearth_tls::{Identity, Incoming, Live};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

use crate::fleet::route::InFlight;
use crate::fleet::{Fleet, FleetHandle, Setup};
use crate::grpc::{self, Access, Closing, Health};
use crate::host::{self, HostConfig};
use crate::http;
use crate::metrics::Metrics;
use crate::store::ModelStore;
use crate::supervise::{Launcher, SocketDir};

/// For connections to close once nothing runs on them.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// For engine processes to end; each is killed well within.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// All of it, twice the first. The controller leaves 10 s of a Pod's grace period for
/// this: beyond them the kubelet ends us in the middle of it.
const LAST_WORDS: Duration = CLOSE_WITHIN.saturating_mul(2).saturating_add(STOP_WITHIN);
const _: () = assert!(LAST_WORDS.as_secs() < 10, "the kubelet does not wait for this");

/// What `serve` needs to know.
#[derive(Debug)]
pub struct ServeConfig {
    /// This worker's name; must be the certificate's.
    pub name: Option<String>,
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where probes and metrics are served.
    pub listen_http: SocketAddr,
    /// The credentials' folder; `None` serves anybody, without TLS.
    pub tls_dir: Option<PathBuf>,
    /// The store and the set in force.
    pub state_dir: PathBuf,
    /// Where sockets may lie.
    pub runtime_dir: PathBuf,
    /// The devices.
    pub host: HostConfig,
    /// Bytes of each device left to others.
    pub reserve: u64,
    /// Bytes that model files may take; `None`: as many as the disk holds.
    pub store_bytes: Option<u64>,
    /// What may be fetched.
    pub policy: Policy,
    /// How long running requests may take to finish.
    pub drain_timeout: Duration,
    /// The program of the engine processes: ourselves.
    pub program: PathBuf,
    /// Its arguments before `engine`: how to log.
    pub engine_arguments: Vec<String>,
}

/// Serves until a signal asks it to end.
///
/// # Errors
/// When something that it needs cannot be had, or is lost on the way.
pub async fn run(config: ServeConfig) -> anyhow::Result<()> {
    // First of all, so that no signal is missed.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("cannot make the state directory {}", config.state_dir.display()))?;
    let probe = host::discover(&config.host).context("cannot find the devices")?;
    for device in probe.devices() {
        tracing::info!(uuid = device.uuid, kind = ?device.kind, product = device.product, "found a device");
    }
    let live = credentials(&config).await?;
    let metrics = Arc::new(Metrics::new(live.clone()));
    let (fleet, handle) = Fleet::new(Setup {
        probe,
        reserve: config.reserve,
        launcher: Launcher {
            program: config.program,
            arguments: config.engine_arguments,
            sockets: SocketDir::create(&config.runtime_dir).context("cannot make a directory for sockets")?,
        },
        store: Arc::new(ModelStore::open(
            &config.state_dir.join("store"),
            config.policy,
            config.store_bytes,
        )?),
        state_dir: config.state_dir,
        metrics: metrics.clone(),
    })
    .context("cannot restore the set in force")?;

    let closing = Closing::default();
    let in_flight = InFlight::default();
    let access = if live.is_some() { Access::ByRole } else { Access::Open };
    let (router, health) =
        grpc::router(handle.clone(), metrics.clone(), access, closing.clone(), in_flight.clone()).await?;
    let grpc_listener = listen(config.listen).await?;
    let http_listener = listen(config.listen_http).await?;
    let (grpc_address, http_address) = (grpc_listener.local_addr()?, http_listener.local_addr()?);

    let close = CancellationToken::new();
    let closed = close.clone().cancelled_owned();
    let grpc_task = match live {
        Some(live) => {
            let incoming = Incoming::new(grpc_listener, live);
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, closed))
        }
        None => {
            tracing::warn!("serving without TLS: whoever reaches the port may do anything");
            let incoming = TcpIncoming::from(grpc_listener).with_nodelay(Some(true));
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, closed))
        }
    };
    let told = http::Told { fleet: handle.clone(), metrics, refuse: closing.refuse.clone() };
    let http =
        plain::serve(http_listener, http::router(told), Protocol::Http, Limits::of_probes(), pending());
    let http_task = tokio::spawn(http);
    let mut tasks = Tasks { fleet: tokio::spawn(fleet.run()), grpc: grpc_task, http: http_task };
    tracing::info!(grpc = %grpc_address, http = %http_address, "serving");

    tokio::select! {
        () = signals.next() => {}
        // Each runs until it is told to end, so any end is one too early.
        lost = tasks.lost() => return lost,
    }
    let going = Going { handle, health, closing, in_flight, close };
    going.drain(config.drain_timeout, &mut signals, &mut tasks).await;
    Ok(())
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn credentials(config: &ServeConfig) -> anyhow::Result<Option<Live>> {
    let Some(dir) = &config.tls_dir else { return Ok(None) };
    let live = Live::from_dir(dir).await.context(
        "cannot read this worker's credentials (to serve without TLS, on your own machine, use --insecure)",
    )?;
    let held = live.current();
    if let Some(name) = &config.name {
        let expected = Identity::worker(name).context("--name")?;
        if held.identity() != &expected {
            bail!("the certificate in {} is for {}, not for {expected}", dir.display(), held.identity());
        }
    }
    Ok(Some(live))
}

/// What must not end before it is told to.
struct Tasks {
    fleet: JoinHandle<Result<(), &'static str>>,
    grpc: JoinHandle<Result<(), tonic::transport::Error>>,
    http: JoinHandle<()>,
}

impl Tasks {
    async fn lost(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            ended = &mut self.fleet => match ended.context("the fleet's task died")? {
                Ok(()) => bail!("the fleet's task ended"),
                Err(what) => bail!("cannot go on without {what}"),
            },
            ended = &mut self.grpc => {
                ended.context("the gRPC server died")?.context("the gRPC server failed")?;
                bail!("the gRPC server ended")
            }
            ended = &mut self.http => {
                ended.context("the HTTP server died")?;
                bail!("the HTTP server ended")
            }
        }
    }
}

struct Going {
    handle: FleetHandle,
    health: Health,
    closing: Closing,
    in_flight: InFlight,
    close: CancellationToken,
}

impl Going {
    /// Says that it is going, lets what runs finish, and ends in order: nobody
    /// who was admitted is dropped without a status.
    async fn drain(self, patience: Duration, signals: &mut Signals, tasks: &mut Tasks) {
        let running = self.in_flight.count();
        tracing::info!(running, "draining");
        self.closing.refuse.cancel();
        self.health.set(ServingStatus::NotServing).await;
        self.handle.leave();
        tokio::select! {
            () = self.in_flight.idle() => {}
            () = tokio::time::sleep(patience) => {
                tracing::warn!(running = self.in_flight.count(), "requests did not finish in time");
            }
            () = signals.next() => tracing::warn!("a second signal: not waiting any longer"),
        }
        self.closing.cut.cancel();
        let _ = timeout(CLOSE_WITHIN, self.in_flight.idle()).await;
        self.close.cancel();
        if timeout(CLOSE_WITHIN, &mut tasks.grpc).await.is_err() {
            tasks.grpc.abort();
        }
        if timeout(STOP_WITHIN, self.handle.stop()).await.is_err() {
            tracing::warn!("the engine processes did not end in time");
        }
        tasks.http.abort();
        tracing::info!("ended");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
