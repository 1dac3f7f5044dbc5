//! The command line of `hearth-operator gateway`.

use std::{net::SocketAddr, num::NonZeroUsize, str::FromStr, time::Duration};

use super::deadline::DeadlineLimits;

/// Takes requests over gRPC and the OpenAI HTTP API, and brings them to the Workers.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to serve gRPC (plaintext HTTP/2).
    #[arg(long, env = "HEARTH_GRPC_LISTEN", default_value = "0.0.0.0:9000")]
    pub grpc_listen: SocketAddr,

    /// Where to serve the OpenAI API, probes and metrics.
    #[arg(long, env = "HEARTH_HTTP_LISTEN", default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,

    /// The namespace of the release: of the Lease and of the gateway's Secret.
    #[arg(long, env = "HEARTH_NAMESPACE")]
    pub namespace: String,

    /// The name of this Pod: how the controller knows the gateway.
    #[arg(long, env = "HEARTH_POD_NAME")]
    pub pod_name: String,

    /// How long a request without a deadline waits for a replica, such as 90s, 10m or 1h.
    #[arg(long, env = "HEARTH_DEFAULT_WAIT", default_value = "10m", value_parser = duration)]
    pub default_wait: Duration,

    /// The longest that any request may take.
    #[arg(long, env = "HEARTH_MAX_DEADLINE", default_value = "1h", value_parser = duration)]
    pub max_deadline: Duration,

    /// How long a client that takes nothing of its answer keeps its place on a replica. The
    /// default is about as long as a dead client goes unnoticed (30 s to the next ping, 20 s for
    /// its answer), and longer than what a living one may stop for.
    #[arg(long, env = "HEARTH_MAX_UNREAD", default_value = "60s", value_parser = duration)]
    pub max_unread: Duration,

    /// Requests that may wait for one model.
    #[arg(long, env = "HEARTH_MAX_WAITING", default_value = "256")]
    pub max_waiting: NonZeroUsize,

    /// Bytes that all requests together may hold, waiting or running. About a quarter of the
    /// Pod's memory: beside it there are what is on the way to a worker, and connections.
    #[arg(long, env = "HEARTH_MAX_HELD_BYTES", default_value = "134217728")]
    pub max_held_bytes: u32,

    /// After the order to stop: how long new requests are still taken, while the cluster takes
    /// the gateway out of its Services.
    #[arg(long, env = "HEARTH_STOP_DELAY", default_value = "5s", value_parser = duration)]
    pub stop_delay: Duration,

    /// After the order to stop: how long running requests may go on. Shorter than the Pod's
    /// termination grace period, so that each still gets its last word.
    #[arg(long, env = "HEARTH_STOP_GRACE", default_value = "50s", value_parser = duration)]
    pub stop_grace: Duration,
}

impl Args {
    /// How long calls may take.
    pub fn deadlines(&self) -> DeadlineLimits {
        DeadlineLimits { default_wait: self.default_wait, max: self.max_deadline }
    }
}

fn duration(text: &str) -> Result<Duration, hearth_api::DurationError> {
    hearth_api::Duration::from_str(text).map(Into::into)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn defaults_and_durations() {
        let parse = |extra: &[&str]| {
            let fixed = ["gateway", "--namespace", "hearth", "--pod-name", "gateway-0"];
            Command::try_parse_from(fixed.iter().chain(extra)).map(|command| command.args)
        };
        let args = parse(&[]).unwrap();
        assert_eq!(args.grpc_listen.port(), 9000);
        assert_eq!(args.deadlines().default_wait, Duration::from_secs(600));
        assert_eq!(parse(&["--max-deadline", "1h30m"]).unwrap().max_deadline, Duration::from_secs(5400));
        assert!(parse(&["--max-deadline", "soon"]).is_err());
        assert!(parse(&["--max-waiting", "0"]).is_err());
    }
}
