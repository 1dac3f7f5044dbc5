//! The end-to-end suite: Hearth on a real cluster, used as people use it.
//!
//! `tests/e2e.sh` brings up the cluster and the images and starts this binary. Cases run one after the
//! other, because most of them disturb the one installation that they share; a case cleans up after itself.

mod harness;
mod suites;

use std::process::ExitCode;

use clap::Parser;
use harness::{Ctx, Settings, run};

/// Runs the end-to-end cases whose name contains the filter.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Run only cases whose name contains this.
    #[arg(default_value = "")]
    filter: String,
    /// Run the cases that take long instead.
    #[arg(long)]
    long: bool,
    /// Print the names of the cases and stop.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    settings: Settings,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let all = if args.long { suites::long() } else { suites::all() };
    let cases: Vec<_> = all.into_iter().filter(|case| case.name.contains(&args.filter)).collect();
    if args.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    let ctx = Ctx::start(args.settings).await?;
    run(&ctx, &cases).await
}
