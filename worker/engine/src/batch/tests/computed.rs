//! Programs that compute, and what they are asked.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_cpu::{Cpu, CpuConfig, CpuProgram};
use hearth_model::{KvType, Shape};
use hearth_program::{Answers, Output, PageLayout, Program, Row, StepError, Unwatched, build};
use hearth_reference::{Compute, KvStorage, ReferenceProgram};
use hearth_text::TextModel;

use crate::batch::Limits;

use super::bench::Bench;
use super::script::{Log, Seen};

/// Notes the rows that a program is asked to compute.
pub(super) struct Watched<P> {
    program: P,
    log: Log,
}

impl<P: Program> Program for Watched<P> {
    fn pages(&self) -> &PageLayout {
        self.program.pages()
    }

    fn output(&self) -> Output {
        self.program.output()
    }

    fn decodes_as_it_prefills(&self) -> bool {
        self.program.decodes_as_it_prefills()
    }

    fn prefill_rows(&self) -> usize {
        self.program.prefill_rows()
    }

    fn step(&mut self, batch: &[Row<'_>], answers: &mut Answers) -> Result<(), StepError> {
        let seen = |row: &Row<'_>| Seen {
            request: row.tokens[0],
            start: row.start,
            len: row.tokens.len(),
            stage: row.stage,
        };
        let tokens = batch.iter().map(|row| row.tokens.len() as u64).sum::<u64>();
        // The same in every run, so that what is cut where is too.
        self.log.time.fetch_add(100 + 10 * tokens, Ordering::Relaxed);
        self.log.steps.lock().unwrap().push(batch.iter().map(seen).collect());
        self.program.step(batch, answers)
    }
}

/// How to run a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) context: u32,
    /// Sequences that there are pages for.
    pub(super) sequences: u32,
    /// Sequences that run at a time.
    pub(super) places: usize,
    /// Microseconds of a step, at the most.
    pub(super) step: u64,
}

impl Run {
    fn shape(&self) -> Shape {
        Shape { context_tokens: self.context, sequences: self.sequences, kv_type: KvType::F16 }
    }

    fn bench<P: Program>(&self, path: &Path, program: P) -> Bench<Watched<P>> {
        let text = TextModel::new(&build::read(path).unwrap(), self.context).unwrap();
        let limits = Limits { places: self.places, step: Duration::from_micros(self.step), pace: 2.0 };
        let log = Log::default();
        Bench::of(Watched { program, log: log.clone() }, text, limits, log)
    }

    pub(super) fn cpu(&self, path: &Path) -> Bench<Watched<CpuProgram>> {
        let cpu = Cpu::open(CpuConfig { threads: std::num::NonZeroUsize::new(2) }).unwrap();
        let built = cpu.build(path, &build::read(path).unwrap(), &self.shape(), &mut Unwatched).unwrap();
        self.bench(path, built.program)
    }

    pub(super) fn reference(&self, path: &Path) -> Bench<Watched<ReferenceProgram>> {
        let storage = KvStorage::Kept(KvType::F16);
        let program = ReferenceProgram::open(path, &self.shape(), storage, Compute::Cpu).unwrap();
        self.bench(path, program)
    }
}

/// A model that people run.
///
/// # Panics
/// It is not there: a test that is skipped proves nothing.
pub(super) fn real_model() -> PathBuf {
    let default = || {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Path::new(&home).join(".cache/hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    };
    let path = std::env::var_os("HEARTH_TEST_MODEL").map_or_else(default, PathBuf::from);
    assert!(
        path.is_file(),
        "no model at {}: run deploy/dev-cluster/models.sh, or set HEARTH_TEST_MODEL",
        path.display()
    );
    path
}
