//! `hearth-worker serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use hearth_source::{PlainHttp, Policy};
use ipnet::IpNet;
use url::Url;

use super::log::LogArgs;
use crate::host::{ComputeMode, HostConfig, SimulatedDevices};
use crate::serve::{self, ServeConfig};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// This worker's name, as its certificate has it.
    #[arg(long, env = "HEARTH_WORKER_NAME")]
    name: Option<String>,

    /// Where to serve gRPC.
    #[arg(long, env = "HEARTH_LISTEN", default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where to serve probes and metrics, without TLS.
    #[arg(long, env = "HEARTH_LISTEN_HTTP", default_value = "0.0.0.0:9091", value_name = "ADDRESS")]
    listen_http: SocketAddr,
    /// The folder with tls.crt, tls.key and ca.crt; read again when they change.
    #[arg(long, env = "HEARTH_TLS_DIR", default_value = "/etc/hearth/tls", value_name = "DIR")]
    tls_dir: PathBuf,
    /// Serve anybody, without TLS. For your own machine only.
    #[arg(long)]
    insecure: bool,

    /// Where model files and the set in force are kept.
    #[arg(long, env = "HEARTH_STATE_DIR", default_value = "/var/lib/hearth", value_name = "DIR")]
    state_dir: PathBuf,
    /// Where sockets of engine processes lie; the system's temporary folder if
    /// this one cannot be written to.
    #[arg(long, env = "HEARTH_RUNTIME_DIR", default_value = "/run/hearth", value_name = "DIR")]
    runtime_dir: PathBuf,
    /// Where claims are mounted, each under its name, for pvc:// sources.
    #[arg(long, env = "HEARTH_CLAIMS_DIR", default_value = "/claims", value_name = "DIR")]
    claims_dir: PathBuf,

    /// What engines compute on. With `Cpu`, GPUs are still told and counted.
    #[arg(long, env = "HEARTH_COMPUTE", default_value = "Auto", value_enum)]
    compute: ComputeMode,
    /// Bytes of each device that are left to others.
    #[arg(long, env = "HEARTH_RESERVE_BYTES", default_value_t = 0, value_name = "BYTES")]
    reserve_bytes: u64,
    /// Bytes that model files may take; all of the disk, if left out. Files that no
    /// model needs make room, longest unused first.
    #[arg(long, env = "HEARTH_STORE_BYTES", value_name = "BYTES")]
    store_bytes: Option<u64>,
    /// The devices of `--compute Simulated`: a JSON array of objects with uuid,
    /// memoryBytes, and optionally product, usedByOthersBytes,
    /// decodeTokensPerSecond, prefillTokensPerSecond, loadBytesPerSecond.
    #[arg(long, env = "HEARTH_SIMULATED_DEVICES", default_value = "", value_name = "JSON")]
    simulated_devices: SimulatedDevices,
    /// NVIDIA's management library, if it is not where the loader looks.
    #[arg(long, env = "HEARTH_NVML", value_name = "FILE")]
    nvml: Option<PathBuf>,
    /// Which GPUs are ours: `all`, `none`, or uuids or indices with commas.
    #[arg(long, env = "NVIDIA_VISIBLE_DEVICES", value_name = "LIST")]
    visible_devices: Option<String>,

    /// Fetch from private addresses, too.
    #[arg(long, env = "HEARTH_ALLOW_PRIVATE")]
    allow_private: bool,
    /// Fetch from these networks whatever they are; may be repeated.
    #[arg(long, env = "HEARTH_ALLOW_NETWORKS", value_delimiter = ',', value_name = "CIDR")]
    allow_network: Vec<IpNet>,
    /// Fetch over plain http, too.
    #[arg(long, env = "HEARTH_ALLOW_PLAIN_HTTP")]
    allow_plain_http: bool,
    /// A PEM file with CA certificates to trust for https, besides the usual.
    #[arg(long, env = "HEARTH_EXTRA_CA", value_name = "FILE")]
    extra_ca: Option<PathBuf>,
    /// The hub behind hf://, or a mirror of it.
    #[arg(long, env = "HEARTH_HUB", value_name = "URL")]
    hub: Option<Url>,

    /// How long running requests may take to finish when asked to end.
    #[arg(long, env = "HEARTH_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration, value_name = "TIME")]
    drain_timeout: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|d| Duration::try_from(d).ok())
        .ok_or_else(|| "give a duration such as 30s, 500ms or 2m".to_owned())
}

impl ServeArgs {
    pub(super) fn run(self, log: &LogArgs) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(serve::run(self.config(program, log.arguments())))
    }

    fn config(self, program: PathBuf, engine_arguments: Vec<String>) -> ServeConfig {
        let default = Policy::default();
        ServeConfig {
            name: self.name,
            listen: self.listen,
            listen_http: self.listen_http,
            tls_dir: (!self.insecure).then_some(self.tls_dir),
            state_dir: self.state_dir,
            runtime_dir: self.runtime_dir,
            host: HostConfig {
                compute: self.compute,
                simulated: self.simulated_devices,
                nvml: self.nvml,
                visible: self.visible_devices,
            },
            reserve: self.reserve_bytes,
            store_bytes: self.store_bytes,
            policy: Policy {
                plain_http: if self.allow_plain_http { PlainHttp::Allow } else { PlainHttp::Refuse },
                allow_private: self.allow_private,
                allowed: self.allow_network,
                extra_ca: self.extra_ca,
                hub: self.hub.unwrap_or(default.hub),
                claims: self.claims_dir,
            },
            drain_timeout: self.drain_timeout,
            program,
            engine_arguments,
        }
    }
}
