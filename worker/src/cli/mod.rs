//! The command line.

mod bench;
mod engine;
mod generate;
mod log;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Serves language models on one machine.
#[derive(Debug, Parser)]
#[command(name = "hearth-worker", version, about)]
struct Cli {
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve models as a controller says, until a signal asks to end.
    Serve(Box<serve::ServeArgs>),
    /// Answer one prompt from a model file, and end.
    Generate(generate::GenerateArgs),
    /// Measure the engine on a model file, and end.
    Bench(bench::BenchArgs),
    /// Hold one device for a worker process. `serve` starts these itself; they
    /// end when their standard input does.
    #[command(hide = true)]
    Engine(engine::EngineArgs),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    log.init();
    match command {
        Command::Serve(args) => finish(args.run(&log)),
        Command::Generate(args) => finish(args.run()),
        Command::Bench(args) => finish(args.run()),
        Command::Engine(args) => args.run(),
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    fn error(arguments: &[&str]) -> String {
        let arguments = ["hearth-worker"].iter().chain(arguments);
        Cli::try_parse_from(arguments).unwrap_err().to_string()
    }

    #[test]
    fn bad_flags_say_what_would_be_good() {
        assert!(error(&["serve", "--compute", "gpu"]).contains("[possible values: Auto, Cpu, Simulated]"));
        assert!(error(&["serve", "--listen", "9090"]).contains("invalid socket address"));
        assert!(error(&["serve", "--drain-timeout", "soon"]).contains("30s"));
        assert!(error(&["serve", "--simulated-devices", "[{}]"]).contains("missing field `uuid`"));
        assert!(error(&["generate", "--model", "a"]).contains("--prompt"));
    }
}
