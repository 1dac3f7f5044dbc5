//! Our programs, fed with a text that is given.

use std::num::NonZeroUsize;
use std::path::Path;

use hearth_cpu::{Cpu, CpuConfig};
use hearth_model::{KvType, Shape};
use hearth_program::{Answers, PAGE_TOKENS, PREFILL_CHUNK, PageId, Program, Row, Stage, Unwatched};
use hearth_reference::{Compute, KvStorage, ReferenceProgram};

/// Tokens of a step in decode: more would need room for all their logits at once.
const STEP: usize = 32;

/// A program and a page table for one sequence, which every text has to itself.
pub(crate) struct Fed {
    program: Box<dyn Program>,
    tables: Vec<Vec<PageId>>,
    answers: Answers,
}

fn shape(context: usize) -> anyhow::Result<Shape> {
    Ok(Shape { context_tokens: context.try_into()?, sequences: 1, kv_type: KvType::F16 })
}

/// The oracle: nothing is rounded that is not rounded in the file.
pub(crate) fn oracle(path: &Path, context: usize) -> anyhow::Result<Fed> {
    let program = ReferenceProgram::open(path, &shape(context)?, KvStorage::Exact, Compute::Cpu)?;
    Ok(Fed::new(Box::new(program), context))
}

/// What serves requests on this machine's processor.
pub(crate) fn ours(path: &Path, context: usize, threads: Option<NonZeroUsize>) -> anyhow::Result<Fed> {
    let cpu = Cpu::open(CpuConfig { threads })?;
    let model = hearth_program::build::read(path)?;
    let built = cpu.build(path, &model, &shape(context)?, &mut Unwatched)?;
    Ok(Fed::new(Box::new(built.program), context))
}

/// Where a text may end in prefill to be compared: at every page.
pub(crate) fn prefill_ends(tokens: usize) -> impl Iterator<Item = usize> {
    (1..=tokens / PAGE_TOKENS).map(|pages| pages * PAGE_TOKENS)
}

impl Fed {
    fn new(program: Box<dyn Program>, context: usize) -> Self {
        // One sequence of one text after another: page numbers in order.
        let pages = u32::try_from(context.div_ceil(PAGE_TOKENS)).unwrap_or(u32::MAX);
        let tables = program.pages().groups.iter().map(|_| (0..pages).map(PageId).collect()).collect();
        Self { program, tables, answers: Answers::default() }
    }

    /// Numbers a position.
    pub(crate) fn width(&self) -> usize {
        self.program.output().width()
    }

    /// The logits after every token, by the path of decode: `[tokens, width]`.
    pub(crate) fn decode(&mut self, text: &[u32], out: &mut Vec<f32>) -> anyhow::Result<()> {
        out.clear();
        for (nth, tokens) in text.chunks(STEP).enumerate() {
            self.step(nth * STEP, tokens, Stage::Decode)?;
            for at in 0..self.answers.count(0) {
                out.extend_from_slice(self.answers.get(0, at).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// The logits after the last token, by the path of prefill: `[1, width]`.
    pub(crate) fn prefill(&mut self, text: &[u32], out: &mut Vec<f32>) -> anyhow::Result<()> {
        out.clear();
        let pieces = text.len().div_ceil(PREFILL_CHUNK);
        for (nth, tokens) in text.chunks(PREFILL_CHUNK).enumerate() {
            self.step(nth * PREFILL_CHUNK, tokens, Stage::Prefill { last: nth + 1 == pieces })?;
        }
        out.extend_from_slice(self.answers.get(0, 0).unwrap_or_default());
        Ok(())
    }

    fn step(&mut self, start: usize, tokens: &[u32], stage: Stage) -> anyhow::Result<()> {
        let row = Row { tables: &self.tables, start, tokens, stage };
        Ok(self.program.step(&[row], &mut self.answers)?)
    }
}
