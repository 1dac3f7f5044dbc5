//! The program.

use std::path::Path;
use std::sync::Arc;

use hearth_kernels::arena::Floats;
use hearth_kernels::isa::Isa;
use hearth_kernels::pool::Pool;
use hearth_model::arch::Factors;
use hearth_model::{Model, Shape};
use hearth_program::arch::{self, Attention, Graph, Register, Sight};
use hearth_program::{Answers, BuildError, Output, PageLayout, Program, Row, StepError, Watch};

use crate::Cpu;
use crate::kv::{Kv, KvStorage};
use crate::load::{File, Weights, short};
use crate::lower::{Lowered, Op, Step, lower};
use crate::run::{Needs, REGISTERS, Ropes, Run, Scratch, registers};
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
    slice: Slice,
    /// Tokens of a sequence that attend together.
    block: usize,
    widths: [usize; REGISTERS],
    answer: Register,
    output: Output,
    /// Tokens that there are embeddings of.
    tokens: usize,
    context: usize,
}

impl CpuProgram {
    pub(crate) fn read(
        cpu: &Cpu,
        path: &Path,
        model: &Model,
        shape: &Shape,
        storage: KvStorage,
        watch: &mut dyn Watch,
    ) -> Result<Self, BuildError> {
        let graph = arch::graph(model);
        let file = File::open(path)?;
        let weights = Weights::read(&graph.weights, &file, &cpu.pool, watch)?;
        let lowered = lower(&graph, &|weight| weights.layout(weight))
            .map_err(|error| file.refuse(error.to_string()))?;
        let ropes = ropes(&graph, &file, shape)?;
        let layout = PageLayout::new(graph.windows(), shape);
        let slice = Slice::new(&layout);
        let heads = heads(&graph);
        let kv = Kv::new(layout, &heads, storage).map_err(short)?;
        let needs = needs(&graph, &lowered, &kv, cpu.pool.threads(), shape);
        let block = needs.layers.iter().map(|(_, look)| look.task_tokens()).min().unwrap_or(1);
        let scratch = Scratch::new(&needs, ropes).map_err(short)?;
        let (widths, answer, output) = (graph.widths, graph.answer, graph.output());
        let mut kept = widths;
        if answer == Register::Logits {
            kept[Register::Logits as usize] = 0;
        }
        let registers = registers(kept).map_err(short)?;
        let tokens = tokens(&lowered, &weights);
        Ok(Self {
            pool: Arc::clone(&cpu.pool),
            isa: cpu.isa,
            lowered,
            weights,
            kv,
            scratch,
            registers,
            slice,
            block,
            widths,
            answer,
            output,
            tokens,
            context: shape.context_tokens as usize,
        })
    }

    fn check(&self, row: &Row<'_>) -> Result<(), StepError> {
        self.kv.layout().check(row)?;
        let end = row.start + row.tokens.len();
        if end > self.context {
            let message = format!("a row ends at {end} and sequences hold {} tokens", self.context);
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

/// The attention of the layers that keep keys and values.
fn heads(graph: &Graph) -> Vec<Attention> {
    let keeps = |attention: &Attention| attention.sight != Sight::All;
    graph.layers.iter().map(|layer| layer.attention).filter(keeps).collect()
}

fn ropes(graph: &Graph, file: &File, shape: &Shape) -> Result<Ropes, BuildError> {
    let mut ropes = Ropes::default();
    for rope in &graph.ropes {
        let factors = match rope.factors(shape.context_tokens) {
            None => Vec::new(),
            Some(Factors::Numbers(numbers)) => numbers.clone(),
            Some(Factors::Tensor(tensor)) => {
                let mut numbers = vec![0.0; file.elements(tensor)?];
                file.numbers(tensor, &mut numbers)?;
                numbers
            }
        };
        ropes.push(rope, rope.frequencies(&factors)).map_err(short)?;
    }
    Ok(ropes)
}

fn steps(lowered: &Lowered) -> impl Iterator<Item = &Op> {
    lowered.body.iter().chain(&lowered.epilogue).map(|Step { op, .. }| op)
}

fn needs<'a>(graph: &Graph, lowered: &Lowered, kv: &'a Kv, threads: usize, shape: &'a Shape) -> Needs<'a> {
    let mut quantized = 0;
    let mut layers = Vec::new();
    for op in steps(lowered) {
        match op {
            Op::Linears(linears) if linears.quantized => {
                quantized = quantized.max(graph.width(linears.input));
            }
            Op::Attend(attend) => layers.push((&kv.layer(attend.layer).form, attend.look)),
            _ => {}
        }
    }
    Needs { quantized, layers, threads, shape }
}

/// Tokens that there are embeddings of.
fn tokens(lowered: &Lowered, weights: &Weights) -> usize {
    let tables = steps(lowered).filter_map(|op| match op {
        Op::Embed { table, .. } => weights.layout(*table),
        _ => None,
    });
    tables.map(|layout| layout.outputs()).min().unwrap_or(usize::MAX)
}
