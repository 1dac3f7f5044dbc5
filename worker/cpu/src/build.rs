//! From a file to a program.

use std::path::Path;
use std::sync::Arc;

use hearth_model::arch::Factors;
use hearth_model::{Model, Shape};
use hearth_program::arch::{self, Attention, Graph, Register, Sight, TableRows};
use hearth_program::{BuildError, PAGE_TOKENS, PageLayout, Watch};

use crate::file::File;
use crate::kv::{Kv, KvStorage};
use crate::load::{Weights, short};
use crate::lower::{Lowered, Op, Step, lower};
use crate::run::{Needs, RoomNeeds, Ropes, Scratch, registers};
use crate::slice::Slice;
use crate::{Cpu, CpuProgram};

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
        let file = File::open(path, model)?;
        let weights = Weights::read(&graph, &file, &cpu.pool, watch)?;
        let lowered = lower(&graph, &|weight| weights.layout(weight))
            .map_err(|error| file.refuse(error.to_string()))?;
        let (kv, slice) = places(&graph, shape, storage)?;
        let ropes = ropes(&graph, &file, shape, slice.most())?;
        let needs = needs(&graph, &lowered, &kv, &slice, cpu.pool.threads(), shape);
        let block = needs.layers.iter().map(|(_, look)| look.task_tokens()).min().unwrap_or(1);
        let scratch = Scratch::new(&needs, ropes).map_err(short)?;
        let (widths, answer, output) = (graph.widths, graph.answer, graph.output());
        let mut kept = widths;
        if answer == Register::Logits {
            kept[Register::Logits as usize] = 0;
        }
        let registers = registers(kept, slice.most()).map_err(short)?;
        let Rows { tokens, positions } = rows(&lowered, &weights);
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
            context: positions.min(shape.context_tokens as usize),
        })
    }
}

/// Where keys and values lie, and how steps are cut.
fn places(graph: &Graph, shape: &Shape, storage: KvStorage) -> Result<(Kv, Slice), BuildError> {
    let layout = PageLayout::new(graph.windows(), shape);
    let ahead = graph.layers.iter().find(|layer| layer.attention.sight == Sight::All);
    let Some(layer) = ahead else {
        let slice = Slice::new(&layout);
        let heads = graph.layers.iter().map(|layer| layer.attention).collect::<Vec<Attention>>();
        return Ok((Kv::new(layout, &heads, storage).map_err(short)?, slice));
    };
    // A text fills its last page in part: as many as there are sequences find place
    // together if their tokens do.
    let context = shape.context_tokens as usize;
    let pages = context.div_ceil(PAGE_TOKENS).saturating_add(shape.sequences as usize);
    let kv = Kv::of_texts(layout, &layer.attention, pages).map_err(short)?;
    Ok((kv, Slice::of_texts(context, pages)))
}

fn ropes(graph: &Graph, file: &File, shape: &Shape, rows: usize) -> Result<Ropes, BuildError> {
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
        ropes.push(rope, rope.frequencies(&factors), rows).map_err(short)?;
    }
    Ok(ropes)
}

fn steps(lowered: &Lowered) -> impl Iterator<Item = &Op> {
    lowered.body.iter().chain(&lowered.epilogue).map(|Step { op, .. }| op)
}

fn needs<'a>(
    graph: &Graph,
    lowered: &Lowered,
    kv: &'a Kv,
    slice: &Slice,
    threads: usize,
    shape: &'a Shape,
) -> Needs<'a> {
    let (mut quantized, mut added, mut room) = (0, 0, RoomNeeds::default());
    let mut layers = Vec::new();
    for op in steps(lowered) {
        match op {
            Op::Linears(linears) if linears.quantized => {
                quantized = quantized.max(graph.width(linears.input));
            }
            Op::Mixture(mixture) => {
                let width = graph.width(mixture.input);
                quantized = quantized.max(if mixture.quantized { width } else { 0 });
                room.add(mixture, width);
            }
            Op::AddRows { out, .. } => added = added.max(graph.width(*out)),
            Op::Attend(attend) | Op::AttendRows(_, attend) => {
                layers.push((&kv.layer(attend.layer).form, attend.look));
            }
            _ => {}
        }
    }
    Needs { rows: slice.most(), quantized, layers, room, added, threads, shape }
}

/// How many rows the tables of a model have.
struct Rows {
    /// Those of tokens.
    tokens: usize,
    /// Those of positions.
    positions: usize,
}

fn rows(lowered: &Lowered, weights: &Weights) -> Rows {
    let mut rows = Rows { tokens: usize::MAX, positions: usize::MAX };
    for op in steps(lowered) {
        let (table, most) = match op {
            Op::Embed { table, .. } => (*table, &mut rows.tokens),
            Op::AddRows { table, rows: TableRows::Position, .. } => (*table, &mut rows.positions),
            _ => continue,
        };
        *most = (*most).min(weights.layout(table).map_or(0, |layout| layout.outputs()));
    }
    rows
}
