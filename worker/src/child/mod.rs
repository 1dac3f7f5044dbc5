//! The engine process: one device, its models, and a Unix socket.
//!
//! It holds no network, no store and no certificate. Its parent starts it with
//! pipes for standard input and output: a line on standard output says that it
//! answers, or why it never will; the end of standard input says that the
//! parent is gone, however it went, and ends it. That holds on every system,
//! unlike a parent-death signal, which also fires when the thread that forked
//! us ends before its process does.

mod convert;
mod load;
mod mailbox;
mod pulse;
mod service;

use std::fs::Permissions;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use hearth_engine::{Backend, Engine};
use hearth_proto::FORWARDED_MESSAGE;
use hearth_proto::engine::v1::engine_service_server::EngineServiceServer;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// Written to standard output when the socket answers.
pub const READY: &str = "ready";
/// Begins the line on standard output that says why it never will.
pub const FAILED: &str = "failed: ";
/// Exit status when the engine's own threads failed: `EX_SOFTWARE`.
pub const EXIT_ENGINE_FAULT: u8 = 70;
/// Exit status when the engine did not start: `EX_CONFIG`.
pub const EXIT_NOT_STARTED: u8 = 78;

/// A request of the largest size at the worker's own port is re-encoded with
/// the replica's id instead of the model's name on its way here.
pub const MESSAGE_LIMIT: usize = 2 * FORWARDED_MESSAGE;

/// The health service that is `NOT_SERVING` while the device thread hangs: the
/// process itself still answers then, and cannot say it by ending, for a thread
/// within a driver lets no process end.
pub const DEVICE_SERVICE: &str = "hearth.engine.device";

/// How often the engine's thread is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What an engine process is started with.
#[derive(Debug)]
pub struct ChildConfig {
    /// Where to listen. Its directory must let in nobody else.
    pub socket: PathBuf,
    /// What to compute on.
    pub backend: Backend,
}

/// How an engine process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The parent is gone, or let go.
    Asked,
    /// The engine's threads failed.
    EngineFault,
}

/// Why an engine process did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The device cannot be had.
    #[error("the engine did not start")]
    Engine(#[from] hearth_engine::StartError),
    /// The socket cannot be had.
    #[error("cannot listen on {path}", path = path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Serving failed.
    #[error("the socket failed")]
    Serve(#[from] tonic::transport::Error),
}

/// Runs until the parent lets go or the engine fails.
///
/// # Errors
/// When the engine or its socket cannot be had.
pub async fn run(config: ChildConfig) -> Result<Ended, ChildError> {
    let engine = Engine::start(config.backend)?;
    let socket = |source| ChildError::Socket { path: config.socket.clone(), source };
    let listener = UnixListener::bind(&config.socket).map_err(socket)?;
    std::fs::set_permissions(&config.socket, Permissions::from_mode(0o600)).map_err(socket)?;

    let (reporter, health) = tonic_health::server::health_reporter();
    let service = EngineServiceServer::new(service::EngineApi::new(engine.clone()))
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let server = Server::builder()
        .add_service(service)
        .add_service(health)
        .serve_with_incoming(UnixListenerStream::new(listener));
    println!("{READY}");

    tokio::select! {
        served = server => served.map(|()| Ended::Asked).map_err(ChildError::Serve),
        () = parent_gone() => Ok(Ended::Asked),
        () = engine_dead(&engine) => Ok(Ended::EngineFault),
        () = pulse::tell(|| engine.pulse(), &reporter) => Ok(Ended::EngineFault),
    }
}

/// Returns at the end of standard input. A thread of its own waits for it: such
/// a read cannot be called off, and nobody waits for this thread.
async fn parent_gone() {
    let (gone, wait) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while io::stdin().read(&mut buffer).is_ok_and(|n| n > 0) {}
        drop(gone);
    });
    let _ = wait.await;
}

async fn engine_dead(engine: &Engine) {
    while engine.is_running() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
