//! A worker process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_proto::inference::v1::inference_service_client::InferenceServiceClient;
use hearth_proto::worker::v1::worker_service_client::WorkerServiceClient;
use hearth_proto::worker::v1::{
    ApplyRequest, ApplyResponse, Replica, ReplicaState, ReplicaStatus, WatchRequest, WatchResponse,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::fence;

/// Long, because the machine may be busy with other things; waits end as soon
/// as what they wait for is told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How a worker is started.
pub(crate) struct Options {
    pub(crate) arguments: Vec<String>,
    pub(crate) insecure: bool,
    pub(crate) log: &'static str,
}

impl Options {
    /// One simulated device `sim` with 24 GiB that decodes this fast.
    pub(crate) fn simulated(tokens_per_second: f64) -> Self {
        Self::simulated_with(24 << 30, tokens_per_second)
    }

    /// The same, of another size.
    pub(crate) fn simulated_with(bytes: u64, tokens_per_second: f64) -> Self {
        let devices = format!(
            r#"[{{"uuid":"sim","memoryBytes":{bytes},"decodeTokensPerSecond":{tokens_per_second}}}]"#
        );
        Self::new(&["--compute", "Simulated", "--simulated-devices", &devices])
    }

    /// The processor.
    pub(crate) fn cpu() -> Self {
        Self::new(&["--compute", "Cpu", "--visible-devices", "none"])
    }

    fn new(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|&a| a.to_owned()).collect(), insecure: true, log: "info" }
    }

    /// Logs all there is to log.
    pub(crate) fn tracing(mut self) -> Self {
        self.log = "trace";
        self
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&a| a.to_owned()));
        self
    }

    pub(crate) fn with_tls(mut self, dir: &Path) -> Self {
        self.insecure = false;
        self.with(&["--tls-dir", dir.to_str().unwrap()])
    }
}

/// A running worker; ended, with all its children, when dropped.
pub(crate) struct Worker {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Worker {
    /// Starts one and waits until it serves.
    pub(crate) async fn start(state_dir: &Path, options: Options) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth-worker"));
        command
            .args(["--log", options.log, "--log-format", "json", "serve"])
            .args(["--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
            .args(["--allow-private", "--allow-plain-http"])
            .arg("--state-dir")
            .arg(state_dir)
            .arg("--runtime-dir")
            .arg(std::env::temp_dir())
            .args(options.insecure.then_some("--insecure"))
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().expect("the worker starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (serving, addresses) = oneshot::channel();
        tokio::spawn(read_log(process.stderr.take().unwrap(), log.clone(), serving));
        let addresses = timeout(PATIENCE, addresses).await;
        let Ok(Ok((grpc, http))) = addresses else {
            panic!("the worker does not serve:\n{}", log.lock().unwrap().join("\n"));
        };
        Self { process, log, grpc, http }
    }

    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect_lazy()
    }

    pub(crate) fn inference(&self) -> InferenceServiceClient<Channel> {
        // The worker's limits are under test, not the client's.
        InferenceServiceClient::new(self.channel())
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20)
    }

    pub(crate) fn control(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel())
    }

    pub(crate) async fn apply(
        &self,
        generation: u64,
        replicas: Vec<Replica>,
    ) -> Result<ApplyResponse, Status> {
        let request = ApplyRequest { fence: fence(1, generation), replicas };
        self.control().apply(request).await.map(tonic::Response::into_inner)
    }

    /// Watches until the state is as asked, and gives it.
    pub(crate) async fn until(
        &self,
        what: &str,
        mut is: impl FnMut(&WatchResponse) -> bool,
    ) -> WatchResponse {
        let mut last = None;
        let watching = async {
            let mut changes = self.control().watch(WatchRequest {}).await.expect("watch").into_inner();
            while let Some(told) = changes.message().await.expect("a state") {
                if is(&told) {
                    return told;
                }
                last = Some(told);
            }
            panic!("the watch ended before {what}");
        };
        match timeout(PATIENCE, watching).await {
            Ok(told) => told,
            Err(_) => panic!("never {what}; last: {last:#?}\n{}", self.log()),
        }
    }

    pub(crate) async fn until_replica(
        &self,
        what: &str,
        id: &str,
        mut is: impl FnMut(&ReplicaStatus) -> bool,
    ) -> ReplicaStatus {
        let told = self
            .until(what, |told| told.replicas.iter().any(|replica| replica.id == id && is(replica)))
            .await;
        told.replicas.into_iter().find(|replica| replica.id == id).unwrap()
    }

    pub(crate) async fn until_ready(&self, id: &str) -> ReplicaStatus {
        self.until_replica("ready", id, |r| r.state() == ReplicaState::Ready).await
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The process ids of its engine processes, as its log has them.
    pub(crate) fn engine_pids(&self) -> Vec<u32> {
        let pid = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["message"] == "an engine process was started").then(|| line["pid"].as_u64())?
        };
        self.log.lock().unwrap().iter().filter_map(pid).filter_map(|n| u32::try_from(n).ok()).collect()
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.process.id().expect("a running worker"));
    }

    pub(crate) async fn exited(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.process.wait()).await.expect("the worker ends").unwrap()
    }

    /// Ends it without a chance to say anything.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Answers a GET of its HTTP port: status line and body.
    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

pub(crate) fn kill(signal: &str, pid: u32) {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {signal} {pid}");
}

/// Whether a process still is, other than as a remainder for its parent.
pub(crate) fn is_alive(pid: u32) -> bool {
    let output =
        std::process::Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let stat = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !stat.is_empty() && !stat.starts_with('Z')
}

async fn read_log(
    from: impl AsyncRead + Unpin,
    log: Arc<Mutex<Vec<String>>>,
    serving: oneshot::Sender<(SocketAddr, SocketAddr)>,
) {
    let mut serving = Some(serving);
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(addresses) = parse_serving(&line)
            && let Some(serving) = serving.take()
        {
            let _ = serving.send(addresses);
        }
        log.lock().unwrap().push(line);
    }
}

fn parse_serving(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = |key: &str| line[key].as_str()?.parse().ok();
    (line["message"] == "serving").then(|| Some((address("grpc")?, address("http")?)))?
}

/// A directory that outlives the workers that use it.
pub(crate) struct StateDir(tempfile::TempDir);

impl StateDir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }
}
