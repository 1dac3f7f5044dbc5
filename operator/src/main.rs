//! Hearth's controller and gateway.

use clap::{Parser, Subcommand};
use hearth_operator::{check, controller, crds, gateway, process};

#[derive(Parser)]
#[command(name = "hearth-operator", version, about)]
struct Cli {
    /// What to log, such as `info,hearth_operator=debug`.
    #[arg(long, env = "HEARTH_LOG", default_value = "info", global = true)]
    log: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Decides what runs where, and sees to it.
    Controller(controller::Args),
    /// Takes requests and brings them to the workers.
    Gateway(Box<gateway::Args>),
    /// Prints the CustomResourceDefinitions as YAML.
    Crds,
    /// Asks a gateway for one token, and says what it found.
    Check(check::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Command::Crds => Ok(crds::print(&mut std::io::stdout().lock())?),
        Command::Controller(args) => {
            process::run(&cli.log, async { Ok(controller::run(args, process::stopped()?).await?) })
        }
        Command::Gateway(args) => process::run(&cli.log, gateway::run(*args)),
        Command::Check(args) => process::run(&cli.log, async { Ok(check::run(args).await?) }),
    }
}
