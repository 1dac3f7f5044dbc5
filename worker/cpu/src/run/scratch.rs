//! What a step writes to, allocated once.

use std::ops::Range;
use std::sync::Mutex;

use hearth_kernels::arena::{ArenaError, Floats};
use hearth_kernels::attend::{self, Look, SPLIT_TOKENS, state_len};
use hearth_kernels::elementwise::{self, Pairs};
use hearth_kernels::isa::Isa;
use hearth_kernels::kv::PageForm;
use hearth_kernels::linear::Quantized;
use hearth_kernels::pool::{Chunks, Pool};
use hearth_model::Shape;
use hearth_model::arch::{Rope, RopePairs};

use super::mixture::{Room, RoomNeeds};
use super::{REGISTERS, ROWS_AT_ONCE};

/// Scratch of a program.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The quantized input of linear layers.
    pub(crate) quantized: Quantized,
    /// What threads attend with.
    pub(crate) attend: Vec<Mutex<attend::Scratch>>,
    /// States of splits.
    pub(crate) states: Floats,
    /// Tasks of splits.
    pub(crate) tasks: Vec<SplitTask>,
    /// Where the states of each task end.
    pub(crate) task_ends: Vec<usize>,
    /// Where the states of each block and head end.
    pub(crate) head_ends: Vec<usize>,
    /// Turns of a slice's rows.
    pub(crate) ropes: Ropes,
    /// What mixtures of experts are computed in.
    pub(crate) room: Room,
    /// A row of a table, a thread.
    pub(crate) rows: Vec<Mutex<Vec<f32>>>,
}

/// The registers, for `rows` rows each. That of the logits is empty where they are
/// written to the answers.
pub(crate) fn registers(widths: [usize; REGISTERS], rows: usize) -> Result<[Floats; REGISTERS], ArenaError> {
    let mut registers = [const { Floats::EMPTY }; REGISTERS];
    for (register, width) in registers.iter_mut().zip(widths) {
        *register = Floats::zeros(width.saturating_mul(rows))?;
    }
    Ok(registers)
}

/// Attention of a block to some splits of a key head.
#[derive(Clone, Debug)]
pub(crate) struct SplitTask {
    pub(crate) block: usize,
    pub(crate) kv_head: usize,
    pub(crate) splits: Range<usize>,
}

/// What scratch is made for.
pub(crate) struct Needs<'a> {
    /// Rows of a slice at the most.
    pub(crate) rows: usize,
    /// The longest input of a linear layer that takes it quantized.
    pub(crate) quantized: usize,
    /// Each layer's pages, and how they are looked at.
    pub(crate) layers: Vec<(&'a PageForm, Look)>,
    /// Mixtures of experts.
    pub(crate) room: RoomNeeds,
    /// The longest row of a table that is added.
    pub(crate) added: usize,
    /// Threads.
    pub(crate) threads: usize,
    /// Context and sequences.
    pub(crate) shape: &'a Shape,
}

impl Scratch {
    pub(crate) fn new(needs: &Needs<'_>, ropes: Ropes) -> Result<Self, ArenaError> {
        let Needs { rows, quantized, layers, room, added, threads, shape } = needs;
        let mut attend = attend::Scratch::default();
        let (mut states, mut splits_heads) = (0, 0);
        let splits = (shape.context_tokens as usize).div_ceil(SPLIT_TOKENS) * shape.sequences as usize;
        for (form, look) in layers {
            attend.fit(form, look, look.task_tokens());
            states = states.max(splits * form.kv_heads() * state_len(form, look.group));
            splits_heads = splits_heads.max(splits * form.kv_heads());
        }
        Ok(Self {
            quantized: Quantized::with_capacity(*rows, *quantized),
            attend: (0..*threads).map(|_| Mutex::new(attend.clone())).collect(),
            states: Floats::zeros(states)?,
            tasks: Vec::with_capacity(splits_heads),
            task_ends: Vec::with_capacity(splits_heads),
            head_ends: Vec::with_capacity(splits_heads),
            ropes,
            room: Room::new(*rows, room)?,
            rows: (0..*threads).map(|_| Mutex::new(vec![0.0; *added])).collect(),
        })
    }

    /// Bytes of what grows with the model and its shape. What a thread attends with,
    /// lists of tasks and turns are some ten KiB each, and part of the allowance.
    pub(crate) fn bytes(&self) -> usize {
        let Self { quantized, states, room, .. } = self;
        quantized.bytes() + states.bytes() + room.bytes()
    }
}

/// The position embeddings of a model.
#[derive(Debug, Default)]
pub(crate) struct Ropes(Vec<Turns>);

/// What one turns a slice's rows by.
#[derive(Debug)]
struct Turns {
    frequencies: Vec<f64>,
    pairs: Pairs,
    magnitude: f32,
    /// `[rows][2 · pairs]`.
    turns: Floats,
}

impl Ropes {
    /// Adds an embedding with these [frequencies](Rope::frequencies), for `rows` rows.
    pub(crate) fn push(&mut self, rope: &Rope, frequencies: Vec<f64>, rows: usize) -> Result<(), ArenaError> {
        let pairs = match rope.pairs {
            RopePairs::Adjacent => Pairs::Adjacent,
            RopePairs::Halves => Pairs::Halves,
        };
        let turns = Floats::zeros(rows * 2 * frequencies.len())?;
        self.0.push(Turns { frequencies, pairs, magnitude: rope.magnitude, turns });
        Ok(())
    }

    /// Computes the turns of rows at these positions.
    pub(crate) fn turn(&mut self, isa: Isa, pool: &Pool, positions: &[usize]) {
        for Turns { frequencies, pairs: _, magnitude, turns } in &mut self.0 {
            let width = 2 * frequencies.len();
            if width == 0 {
                continue;
            }
            let rows = Chunks::new(&mut turns[..positions.len() * width], ROWS_AT_ONCE * width);
            pool.over(rows, |chunk, turns, _| {
                let positions = &positions[chunk * ROWS_AT_ONCE..];
                for (turns, position) in turns.chunks_exact_mut(width).zip(positions) {
                    elementwise::turns(frequencies, *position, turns);
                }
                if *magnitude != 1.0 {
                    elementwise::scale(isa, *magnitude, turns);
                }
            });
        }
    }

    /// The turns of a row.
    pub(crate) fn of(&self, rope: usize, row: usize) -> (Pairs, &[f32]) {
        let Turns { frequencies, pairs, magnitude: _, turns } = &self.0[rope];
        let width = 2 * frequencies.len();
        (*pairs, &turns[row * width..][..width])
    }
}
