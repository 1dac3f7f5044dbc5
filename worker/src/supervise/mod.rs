//! One engine process for a device: started, watched, ended.

mod process;
mod socket;

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::child::{DEVICE_SERVICE, EXIT_ENGINE_FAULT, EXIT_NOT_STARTED};
use crate::fleet::death::NOT_ENDED;
use crate::host::{self, Device, EngineKind};
use crate::spec::Failure;

use process::{KILLED_WITHIN, Process};
pub use socket::SocketDir;

/// A driver may take seconds to open a device.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How often a process is asked whether it answers.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// A process that has not answered for this long is stuck. Long, because a busy
/// machine may stop all of it for a while, and ending it costs a reload.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// What a process is given to end by itself.
const END_WITHIN: Duration = Duration::from_secs(3);

/// How engine processes are started.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program: ourselves.
    pub program: PathBuf,
    /// Its arguments before `engine`: how to log.
    pub arguments: Vec<String>,
    /// Where the sockets lie.
    pub sockets: SocketDir,
}

impl Launcher {
    /// Runs one engine process from `at` on until it ends, or until `stop`.
    /// `up` is called once, when the process answers.
    ///
    /// Returns why it ended, or `None` if it was asked to.
    pub async fn run(
        &self,
        device: &Device,
        at: Instant,
        stop: CancellationToken,
        up: impl FnOnce(Channel),
    ) -> Option<Failure> {
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep_until(at.into()) => {}
        }
        let kills_before = host::oom_kills();
        let socket = self.sockets.next();
        let mut process = match Process::start(&self.program, &self.arguments, &socket, device) {
            Ok(process) => process,
            Err(error) => {
                let program = self.program.display();
                return Some(Failure::transient(
                    "EngineNotStarted",
                    format!("cannot run {program}: {error}"),
                ));
            }
        };
        tracing::info!(device = device.uuid, pid = process.id(), "an engine process was started");
        let mut failure = tokio::select! {
            () = stop.cancelled() => None,
            failure = watch(&mut process, &socket, up, kills_before) => Some(failure),
        };
        let pid = process.id().unwrap_or_default();
        if !process.end(END_WITHIN).await {
            let seconds = KILLED_WITHIN.as_secs();
            failure = Some(Failure::transient(
                NOT_ENDED,
                format!(
                    "the engine process {pid} was killed and is still there after {seconds} s: it hangs in the \
                     device's driver; restart the machine if that stays so"
                ),
            ));
        }
        match &failure {
            None => tracing::info!(device = device.uuid, "the engine process was ended"),
            Some(f) => tracing::warn!(device = device.uuid, reason = f.reason, "{}", f.message),
        }
        failure
    }
}

/// Watches a process until it ends or has to be ended.
async fn watch(
    process: &mut Process,
    socket: &socket::Socket,
    up: impl FnOnce(Channel),
    kills_before: Option<u64>,
) -> Failure {
    match timeout(START_WITHIN, process.ready()).await {
        Err(_) => {
            let seconds = START_WITHIN.as_secs();
            return Failure::transient(
                "EngineNotStarted",
                format!("the engine process did not answer within {seconds} s"),
            );
        }
        Ok(Err(said)) => {
            // What it said on its way out is worth more than its exit status.
            return match said {
                Some(said) => Failure::transient("EngineNotStarted", said),
                None => match timeout(END_WITHIN, process.exited()).await {
                    Ok(status) => cause(status, kills_before),
                    Err(_) => Failure::transient(
                        "EngineNotStarted",
                        "the engine process closed its output without a word and did not end",
                    ),
                },
            };
        }
        Ok(Ok(())) => {}
    }
    let channel = socket.channel();
    up(channel.clone());
    tokio::select! {
        status = process.exited() => cause(status, kills_before),
        stuck = stuck(channel) => stuck.failure(),
    }
}

/// How a process that runs does not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stuck {
    /// It does not answer.
    Process,
    /// It answers, and says that the device does not.
    Device,
}

impl Stuck {
    fn failure(self) -> Failure {
        match self {
            Self::Process => {
                let seconds = STUCK_AFTER.as_secs();
                Failure::transient(
                    "EngineStuck",
                    format!("the engine process did not answer for {seconds} s"),
                )
            }
            Self::Device => Failure::transient(
                "EngineHung",
                "the device did not end a step in many times what such steps take; the worker's log says how \
                 long. The engine is started anew",
            ),
        }
    }
}

/// Returns when the process or its device does not get on any more.
async fn stuck(channel: Channel) -> Stuck {
    let mut client = HealthClient::new(channel);
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // An answer of any kind is an answer; a broken connection means that the
        // process is ending, which its owner sees.
        let request = HealthCheckRequest { service: DEVICE_SERVICE.to_owned() };
        match timeout(STUCK_AFTER, client.check(request)).await {
            Err(_) => return Stuck::Process,
            Ok(Ok(told)) if told.get_ref().status() == ServingStatus::NotServing => return Stuck::Device,
            Ok(_) => {}
        }
    }
}

/// Says why a process ended that nobody asked to.
fn cause(status: std::io::Result<ExitStatus>, kills_before: Option<u64>) -> Failure {
    use std::os::unix::process::ExitStatusExt;
    let status = match status {
        Ok(status) => status,
        Err(e) => {
            return Failure::transient("EngineLost", format!("lost sight of the engine process: {e}"));
        }
    };
    if let Some(signal) = status.signal() {
        const SIGKILL: i32 = 9;
        let kills_now = host::oom_kills();
        let killed_for_memory = signal == SIGKILL
            && matches!((kills_before, kills_now), (Some(before), Some(now)) if now > before);
        return if killed_for_memory {
            Failure::transient(
                "OutOfMemory",
                "the kernel ended the engine process because the container's memory limit was reached; give \
                 the worker more memory, or the model a shorter context",
            )
        } else {
            Failure::transient("EngineKilled", format!("the engine process was ended by signal {signal}"))
        };
    }
    match status.code() {
        Some(code) if code == i32::from(EXIT_ENGINE_FAULT) => Failure::transient(
            "EngineFault",
            "the engine's thread failed; the worker's log says where. It is started anew",
        ),
        Some(code) if code == i32::from(EXIT_NOT_STARTED) => Failure::transient(
            "EngineNotStarted",
            "the engine could not open its device; see the worker's log",
        ),
        _ => Failure::transient("EngineExited", format!("the engine process ended by itself ({status})")),
    }
}

impl EngineKind {
    /// Why no engine can run, if so.
    pub fn unavailable(&self) -> Option<&str> {
        match self {
            Self::Unavailable(why) => Some(why),
            Self::Cpu | Self::Cuda | Self::Simulated(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[tokio::test]
    async fn a_process_that_says_nothing_and_stays_is_ended() {
        let parent = tempfile::tempdir().unwrap();
        let launcher = Launcher {
            program: "/bin/sh".into(),
            arguments: ["-c", "exec >&-; exec sleep 600"].map(str::to_owned).into(),
            sockets: SocketDir::create(parent.path()).unwrap(),
        };
        let device = Device {
            uuid: "d0".into(),
            kind: host::DeviceKind::Cpu,
            product: String::new(),
            engine: EngineKind::Cpu,
            shows_ours: false,
        };
        let run = launcher.run(&device, Instant::now(), CancellationToken::new(), |_| panic!("it is not up"));
        let failure = timeout(START_WITHIN, run).await.expect("it is given up on").expect("a failure");
        assert_eq!(failure.reason, "EngineNotStarted");
        assert!(failure.message.contains("without a word"), "{}", failure.message);
    }

    #[tokio::test]
    async fn a_device_that_hangs_is_told_from_a_process_that_does() {
        let parent = tempfile::tempdir().unwrap();
        let socket = SocketDir::create(parent.path()).unwrap().next();
        let listener = tokio::net::UnixListener::bind(socket.path()).unwrap();
        let (reporter, health) = tonic_health::server::health_reporter();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming);
        let server = tokio::spawn(server);
        let ask = |seconds| timeout(Duration::from_secs(seconds), stuck(socket.channel()));
        assert!(ask(1).await.is_err(), "one that says nothing of its device gets on");
        reporter.set_service_status(DEVICE_SERVICE, tonic_health::ServingStatus::Serving).await;
        assert!(ask(1).await.is_err());
        reporter.set_service_status(DEVICE_SERVICE, tonic_health::ServingStatus::NotServing).await;
        let stuck = ask(ASK_EVERY.as_secs() + 5).await.expect("it is noticed");
        assert_eq!((stuck, stuck.failure().reason.as_str()), (Stuck::Device, "EngineHung"));
        server.abort();
    }

    #[test]
    fn causes() {
        let reason = |raw: i32| cause(Ok(ExitStatus::from_raw(raw)), None).reason;
        assert_eq!(reason(9), "EngineKilled");
        assert_eq!(reason(i32::from(EXIT_ENGINE_FAULT) << 8), "EngineFault");
        assert_eq!(reason(101 << 8), "EngineExited");
        assert_eq!(reason(0), "EngineExited");
    }
}
