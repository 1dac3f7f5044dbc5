//! What every long-running command of the operator shares.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Sets up logging, TLS and the runtime, and runs `command` to its end.
///
/// # Errors
/// What `command` says, or that one of the three cannot be set up.
pub fn run(log: &str, command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(log).with_context(|| format!("reading the log filter {log:?}"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    // Fails only where somebody chose a provider before, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let outcome = runtime.block_on(command);
    // What still blocks must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Cancelled when the process is told to end.
///
/// # Errors
/// When signals cannot be listened to. Must be called on a Tokio runtime.
pub fn stopped() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("listening to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening to SIGINT")?;
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("told to end (SIGTERM)"),
            _ = interrupt.recv() => info!("told to end (SIGINT)"),
        }
        told.cancel();
    });
    Ok(token)
}
