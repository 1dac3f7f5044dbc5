//! The program.

use std::sync::Arc;

use hearth_kernels::arena::Floats;
use hearth_kernels::isa::Isa;
use hearth_kernels::pool::Pool;
use hearth_program::arch::Register;
use hearth_program::{Answers, Output, PageLayout, Program, Row, StepError};

use crate::kv::Kv;
use crate::load::Weights;
use crate::lower::Lowered;
use crate::run::{REGISTERS, Run, Scratch};
use crate::slice::{Cursor, Slice};

/// A model on the CPU.
pub struct CpuProgram {
    pub(crate) pool: Arc<Pool>,
    pub(crate) isa: Isa,
    pub(crate) lowered: Lowered,
    pub(crate) weights: Weights,
    pub(crate) kv: Kv,
    pub(crate) scratch: Scratch,
    pub(crate) registers: [Floats; REGISTERS],
    pub(crate) slice: Slice,
    /// Tokens of a sequence that attend together.
    pub(crate) block: usize,
    pub(crate) widths: [usize; REGISTERS],
    pub(crate) answer: Register,
    pub(crate) output: Output,
    /// Tokens that there are embeddings of.
    pub(crate) tokens: usize,
    /// Tokens that a sequence may hold.
    pub(crate) context: usize,
}

impl CpuProgram {
    fn check(&self, row: &Row<'_>) -> Result<(), StepError> {
        self.kv.layout().check(row)?;
        let end = row.start + row.tokens.len();
        if end > self.context {
            let message = format!("a row ends at {end} and sequences hold {} tokens", self.context);
            return Err(StepError { message });
        }
        if self.slice.texts.is_some() && (row.start, row.answers()) != (0, 1) {
            let message = "tokens see ahead: a text comes whole, and has one answer".into();
            return Err(StepError { message });
        }
        if let Some(token) = row.tokens.iter().find(|token| **token as usize >= self.tokens) {
            return Err(StepError { message: format!("there is no token {token} of {}", self.tokens) });
        }
        Ok(())
    }
}

impl Program for CpuProgram {
    fn pages(&self) -> &PageLayout {
        self.kv.layout()
    }

    fn output(&self) -> Output {
        self.output
    }

    /// Rows are quantized, multiplied and attended to alike in both stages.
    fn decodes_as_it_prefills(&self) -> bool {
        true
    }

    /// A step is cut into slices that scratch is made for, so any number would do. Of
    /// short prompts, so many share a reading of the weights.
    fn prefill_rows(&self) -> usize {
        8
    }

    fn step(&mut self, batch: &[Row<'_>], answers: &mut Answers) -> Result<(), StepError> {
        batch.iter().try_for_each(|row| self.check(row))?;
        let width = self.output.width();
        let mut left = answers.prepare(width, batch);
        let mut cursor = Cursor::default();
        loop {
            let filled = self.slice.fill(batch, &mut cursor, self.block);
            let shared = |_| StepError { message: "two rows write to one page".into() };
            if !filled.map_err(shared)? {
                return Ok(());
            }
            let (now, after) = left.split_at_mut(self.slice.answered.len() * width);
            left = after;
            self.compute(batch, now);
        }
    }
}

impl CpuProgram {
    /// Takes the slice through the model, and writes its answers.
    fn compute(&mut self, batch: &[Row<'_>], answers: &mut [f32]) {
        let Self { pool, isa, lowered, weights, kv, scratch, registers, slice, widths, answer, .. } = self;
        scratch.ropes.turn(*isa, pool, &slice.positions);
        let mut numbers = registers.each_mut().map(|numbers| &mut numbers[..]);
        let direct = *answer == Register::Logits;
        let mut kept = None;
        if direct {
            numbers[Register::Logits as usize] = answers;
        } else {
            kept = Some(answers);
        }
        let rows = slice.len();
        let mut run = Run { pool, isa: *isa, weights, widths, kv, batch, slice, scratch, numbers, rows };
        run.steps(&lowered.body);
        if !slice.answered.is_empty() {
            run.steps(&lowered.epilogue);
        }
        if let Some(answers) = kept {
            answers.copy_from_slice(&run.numbers[*answer as usize][..answers.len()]);
        }
    }
}
