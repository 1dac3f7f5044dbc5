//! What is logged, and how.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// What to log: a level, or a list like `info,hearth_worker=debug`.
    #[arg(long, env = "HEARTH_LOG", default_value = "info", global = true, value_name = "FILTER")]
    log: String,
    /// How to log, on standard error.
    #[arg(long, env = "HEARTH_LOG_FORMAT", default_value = "text", global = true, value_enum)]
    log_format: LogFormat,
}

impl LogArgs {
    /// The same again, for a child.
    pub(super) fn arguments(&self) -> Vec<String> {
        let format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        ["--log", &self.log, "--log-format", format].map(str::to_owned).into()
    }

    /// Logs from here on. A filter that makes no sense is said, and `info` taken.
    pub(super) fn init(&self) {
        let (filter, problem) = match EnvFilter::try_new(&self.log) {
            Ok(filter) => (filter, None),
            Err(e) => (EnvFilter::new("info"), Some(e)),
        };
        let builder =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
        match self.log_format {
            LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
        if let Some(problem) = problem {
            tracing::warn!(filter = self.log, %problem, "the log filter makes no sense; logging `info`");
        }
    }
}
