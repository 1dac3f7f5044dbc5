//! `hearth-worker bench`: how fast an engine is on a model file, on this machine.

mod memory;
mod plan;
mod progress;
mod report;
mod run;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use hearth_engine::{Backend, Engine};

use super::engine::EngineCompute;
use plan::Plan;
use progress::Progress;
use report::{Report, Row};
use run::Bench;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// A GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Lengths of prompts to read, each measured alone; 0 for none.
    #[arg(long, value_delimiter = ',', default_value = "512", value_name = "TOKENS,…")]
    prefill: Vec<u32>,
    /// Tokens to generate where decode is measured; 0 for none.
    #[arg(long, default_value_t = 128, value_name = "TOKENS")]
    decode: u32,
    /// Tokens that the context holds before one sequence decodes; each is measured alone.
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "TOKENS,…")]
    depth: Vec<u32>,
    /// Sequences to serve at once, each with a prompt of its own, instead of one at a
    /// depth; each number is measured alone.
    #[arg(long, value_delimiter = ',', conflicts_with = "depth", value_name = "SEQUENCES,…")]
    batch: Vec<u32>,
    /// Tokens of each prompt of a batch.
    #[arg(long, default_value_t = 64, value_name = "TOKENS")]
    prompt: u32,
    /// How often each is measured. The median counts.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Threads that compute, where the processor does; by default as many as it has cores.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What to compute on.
    #[arg(long, value_enum, default_value_t = EngineCompute::Cpu)]
    compute: EngineCompute,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    fn backend(&self) -> anyhow::Result<Backend> {
        let mut backend = self.compute.backend(None);
        match (&mut backend, self.threads) {
            (_, None) => {}
            (Backend::Cpu(config), threads) => config.threads = threads,
            _ => bail!("--threads is for --compute cpu"),
        }
        Ok(backend)
    }

    pub(super) fn run(self) -> anyhow::Result<()> {
        let began = Instant::now();
        let plan = Plan::new(&self.prefill, self.decode, &self.depth, &self.batch, self.prompt)?;
        let engine = Engine::start(self.backend()?).context("cannot start the engine")?;
        let progress = Progress::new(&plan, self.repetitions);
        let mut bench = Bench::load(engine, self.model.clone(), plan.shape(), &progress)?;
        let load_seconds = began.elapsed().as_secs_f64();
        bench.first_token()?;
        let first_token_seconds = began.elapsed().as_secs_f64();

        let mut rows = Vec::new();
        for work in plan.works() {
            bench.warm_up(*work)?;
            let mut seconds = Vec::new();
            for _ in 0..self.repetitions {
                seconds.push(bench.measure(*work)?);
                progress.step(work);
            }
            rows.push(Row::new(*work, &seconds));
        }
        progress.end();
        let report = Report {
            load_seconds,
            first_token_seconds,
            rows,
            memory: memory::Memory::now(bench.footprint()),
        };
        if self.json {
            println!("{}", serde_json::to_string(&report).context("cannot write the report")?);
        } else {
            print!("{report}");
        }
        Ok(())
    }
}
