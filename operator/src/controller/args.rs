//! What a controller process is told about itself.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Flags of `hearth-operator controller`. The chart sets them by environment.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration that the chart writes.
    #[arg(long, env = "HEARTH_CONFIG", default_value = "/etc/hearth/config/config.json")]
    pub config: PathBuf,

    /// The namespace of the release.
    #[arg(long, env = "HEARTH_NAMESPACE")]
    pub namespace: String,

    /// The name of this Pod: what it is called in the election.
    #[arg(long, env = "HEARTH_POD_NAME")]
    pub pod_name: String,

    /// The address under which gateways reach this Pod.
    #[arg(long, env = "HEARTH_POD_IP")]
    pub pod_ip: IpAddr,

    /// Where the gateways' streams are served, with TLS.
    #[arg(long, env = "HEARTH_CONTROL_LISTEN", default_value = "0.0.0.0:9092")]
    pub control_listen: SocketAddr,

    /// Where probes and metrics are served.
    #[arg(long, env = "HEARTH_METRICS_LISTEN", default_value = "0.0.0.0:9093")]
    pub metrics_listen: SocketAddr,

    /// PEM file of additional certificate authorities for sources.
    #[arg(long, env = "HEARTH_EXTRA_CA")]
    pub extra_ca: Option<PathBuf>,

    /// The folder under which claims with model files are mounted.
    #[arg(long, env = "HEARTH_CLAIMS", default_value = "/claims")]
    pub claims: PathBuf,
}
