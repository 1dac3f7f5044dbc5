//! Running a graph's nodes.

use std::slice;

use burn::tensor::{Int, Tensor, TensorData};

use hearth_program::arch::{Node, Register, Sight, TableRows};
use hearth_program::{Row, Stage, StepError};

use crate::ReferenceProgram;
use crate::attention::{attend, attend_rows};
use crate::functions::{activate, normalise, product, soft_cap};
use crate::kv::Read;
use crate::rope::Turns;

/// Rows and columns of a product, from which on sums are in one order.
const MANY: usize = 32;

/// What the registers hold while a row is computed.
#[derive(Default)]
struct Registers([Option<Tensor<2>>; Register::ALL.len()]);

impl Registers {
    /// # Panics
    /// Nothing was written there: the graph contradicts itself.
    fn get(&self, register: Register) -> Tensor<2> {
        let Some(tensor) = &self.0[register as usize] else {
            panic!("{register:?} is read before it is written")
        };
        tensor.clone()
    }

    /// As [`Registers::get`], but leaves nothing behind, so that what follows can
    /// work in place.
    fn take(&mut self, register: Register) -> Tensor<2> {
        let taken = self.0[register as usize].take();
        let Some(tensor) = taken else { panic!("{register:?} is read before it is written") };
        tensor
    }

    fn set(&mut self, register: Register, tensor: Tensor<2>) {
        self.0[register as usize] = Some(tensor);
    }

    /// Puts `change` of what is there in its place.
    fn change(&mut self, register: Register, change: impl FnOnce(Tensor<2>) -> Tensor<2>) {
        let changed = change(self.take(register));
        self.set(register, changed);
    }
}

impl ReferenceProgram {
    /// Takes one sequence's tokens through the model: the numbers of its answers.
    ///
    /// Sums have another order where a product has few rows. So tokens are decoded one
    /// by one, and of a prompt there are never few: what a token comes to does not hang
    /// on where rows begin and end.
    pub(crate) fn run(&self, row: &Row<'_>) -> Result<Vec<f32>, StepError> {
        self.kv.layout().check(row)?;
        match row.stage {
            Stage::Prefill { .. } => self.take(row, MANY),
            Stage::Decode => {
                let mut answers = Vec::new();
                for (nth, token) in row.tokens.iter().enumerate() {
                    let one = Row { start: row.start + nth, tokens: slice::from_ref(token), ..*row };
                    answers.append(&mut self.take(&one, 1)?);
                }
                Ok(answers)
            }
        }
    }

    /// As [`ReferenceProgram::run`], in products of at least so many rows.
    fn take(&self, row: &Row<'_>, least: usize) -> Result<Vec<f32>, StepError> {
        let turns = self.ropes.iter().map(|rope| rope.turns(row.start, row.tokens.len())).collect::<Vec<_>>();
        let mut registers = Registers::default();
        for node in &self.graph.prologue {
            self.node(node, 0, row, least, &turns, &mut registers);
        }
        for (index, layer) in self.graph.layers.iter().enumerate() {
            for node in &layer.nodes {
                self.node(node, index, row, least, &turns, &mut registers);
            }
        }
        if row.answers() == 0 {
            return Ok(Vec::new());
        }
        for node in &self.graph.epilogue {
            // Of a row of any length one answer is wanted.
            self.node(node, 0, row, 1, &turns, &mut registers);
        }
        let answers = registers.take(self.graph.answer).try_into_vec_as::<f32>();
        answers.map_err(|error| StepError { message: error.to_string() })
    }

    fn node(
        &self,
        node: &Node,
        layer: usize,
        row: &Row<'_>,
        least: usize,
        turns: &[Turns],
        registers: &mut Registers,
    ) {
        let Row { tables, start, tokens, stage: _ } = *row;
        let attention = &self.graph.layers[layer].attention;
        let weights = &self.weights;
        match *node {
            Node::Embed { table, out } => {
                let table = weights.matrix(table);
                let ids = tokens.iter().map(|id| *id as usize);
                registers.set(out, rows_of(&table, ids));
            }
            Node::AddRows { table, rows, out } => {
                let table = weights.matrix(table);
                let added = match rows {
                    TableRows::Position => rows_of(&table, start..start + tokens.len()),
                    TableRows::Only(row) => rows_of(&table, row..row + 1),
                };
                registers.change(out, |x| x + added);
            }
            Node::Norm { input, norm, out } => {
                let bias = norm.bias.map(|bias| weights.vector(bias));
                let normed = normalise(registers.get(input), &norm, weights.vector(norm.weight), bias);
                registers.set(out, normed);
            }
            Node::Linear { input, weight, bias, out } => {
                let product = product(registers.get(input), weights.matrix(weight), least);
                let sum = match bias {
                    Some(bias) => product + weights.vector(bias).unsqueeze::<2>(),
                    None => product,
                };
                registers.set(out, sum);
            }
            Node::Rope { at, heads, rope } => {
                registers.change(at, |x| join(turns[rope.0].apply(split(x, heads))));
            }
            Node::Append { keys, values } => {
                let heads = |register| split(registers.get(register), attention.kv_heads).swap_dims(0, 1);
                self.kv.write(layer, tables, start, &heads(keys), &heads(values));
            }
            Node::Attend { query, out } => {
                let Sight::Past { window } = attention.sight else {
                    panic!("layer {layer} keeps nothing and reads what it keeps")
                };
                let end = start + tokens.len();
                let Read { keys, values, first } = self.kv.read(layer, tables, start, end);
                debug_assert_eq!(first + keys.dims()[1], end, "what is read ends with the row");
                let read = attend(attention, window, registers.take(query), keys, values, least);
                registers.set(out, read);
            }
            Node::AttendRows { query, keys, values, out } => {
                let heads = |register| split(registers.get(register), attention.kv_heads).swap_dims(0, 1);
                let read = attend_rows(attention, registers.get(query), heads(keys), heads(values));
                registers.set(out, read);
            }
            Node::Gate { activation, gate, out } => {
                let gate = activate(activation, registers.take(gate));
                registers.change(out, |x| gate * x);
            }
            Node::Activate { activation, at } => registers.change(at, |x| activate(activation, x)),
            Node::Experts { input, experts, out } => {
                let made = weights.experts(&experts, registers.get(input));
                registers.set(out, made);
            }
            Node::Add { input, out } => {
                let input = registers.get(input);
                registers.change(out, |x| x + input);
            }
            Node::Scale { at, factor } => registers.change(at, |x| x.mul_scalar(factor)),
            Node::SoftCap { at, cap } => registers.change(at, |x| soft_cap(x, cap)),
            Node::KeepAnswered { at } => registers.change(at, |x| {
                let [rows, width] = x.dims();
                x.slice([rows - row.answers()..rows, 0..width])
            }),
            Node::Mean { at } => registers.change(at, |x| x.mean_dim(0)),
            Node::First { at } => registers.change(at, |x| {
                let width = x.dims()[1];
                x.slice([0..1, 0..width])
            }),
            Node::UnitLength { at } => registers.change(at, |x| {
                let length = x.clone().powi_scalar(2).sum_dim(1).sqrt();
                // Nothing but zeros has a smaller length: squares below vanish.
                x / length.clamp_min(1e-20)
            }),
        }
    }
}

fn rows_of(table: &Tensor<2>, rows: impl Iterator<Item = usize>) -> Tensor<2> {
    let rows = rows.map(|row| row as i64).collect::<Vec<_>>();
    let count = rows.len();
    table.clone().select(0, Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &table.device()))
}

/// `[rows, heads · dim]` as `[rows, heads, dim]`.
fn split(x: Tensor<2>, heads: usize) -> Tensor<3> {
    let [rows, width] = x.dims();
    x.reshape([rows, heads, width / heads])
}

fn join(x: Tensor<3>) -> Tensor<2> {
    let [rows, heads, dim] = x.dims();
    x.reshape([rows, heads * dim])
}
