//! What is done row by row.

use hearth_kernels::elementwise::{add, rms_norm, rms_norm_in_place, rope, scale, soft_cap};
use hearth_kernels::linear::gather_row;
use hearth_kernels::pool::{Blocks, Both, Chunks};
use hearth_program::PAGE_TOKENS;
use hearth_program::arch::{Activation, Norm, Register, WeightId};

use super::linear::apply;
use super::{ROWS_AT_ONCE, Registers, Run};
use crate::lower::{Map, Place, Turn};

impl Run<'_> {
    pub(super) fn embed(&mut self, table: WeightId, out: Register) {
        let (pool, width, tokens) = (self.pool, self.width(out), &self.slice.tokens);
        let matrix = self.weights.matrix(table);
        let out = Registers::new(&mut self.numbers, self.widths, self.rows).take(out);
        pool.over(Chunks::new(out, ROWS_AT_ONCE * width), |chunk, rows, _| {
            let tokens = &tokens[chunk * ROWS_AT_ONCE..];
            for (row, token) in rows.chunks_exact_mut(width).zip(tokens) {
                gather_row(&matrix, *token as usize, row);
            }
        });
    }

    pub(super) fn norm(&mut self, input: Register, norm: &Norm, out: Register) {
        let (pool, isa, width) = (self.pool, self.isa, self.width(out));
        let weight = self.weights.vector(norm.weight);
        let piece = ROWS_AT_ONCE * width;
        let mut registers = Registers::new(&mut self.numbers, self.widths, self.rows);
        let to = Chunks::new(registers.take(out), piece);
        if input == out {
            pool.over(to, |_, rows, _| rms_norm_in_place(isa, weight, norm.epsilon, rows));
        } else {
            let from = &*registers.take(input);
            pool.over(to, |chunk, rows, _| {
                rms_norm(isa, weight, norm.epsilon, &from[chunk * piece..][..rows.len()], rows);
            });
        }
    }

    pub(super) fn gate(&mut self, activation: Activation, gate: Register, out: Register) {
        let isa = self.isa;
        self.zip(gate, out, |gate, out| apply(isa, activation, gate, out));
    }

    pub(super) fn add(&mut self, input: Register, out: Register) {
        let isa = self.isa;
        self.zip(input, out, |input, out| add(isa, input, out));
    }

    pub(super) fn map(&mut self, at: Register, map: Map) {
        let (pool, isa, width) = (self.pool, self.isa, self.width(at));
        let rows = Chunks::new(
            Registers::new(&mut self.numbers, self.widths, self.rows).take(at),
            ROWS_AT_ONCE * width,
        );
        pool.over(rows, |_, rows, _| match map {
            Map::Scale(factor) => scale(isa, factor, rows),
            Map::SoftCap(cap) => soft_cap(isa, cap, rows),
        });
    }

    fn zip(&mut self, input: Register, out: Register, with: impl Fn(&[f32], &mut [f32]) + Sync) {
        let (pool, width) = (self.pool, self.width(out));
        let piece = ROWS_AT_ONCE * width;
        let mut registers = Registers::new(&mut self.numbers, self.widths, self.rows);
        let (from, to) = (&*registers.take(input), registers.take(out));
        pool.over(Chunks::new(to, piece), |chunk, to, _| with(&from[chunk * piece..][..to.len()], to));
    }

    pub(super) fn keep_answered(&mut self, at: Register) {
        let (width, answered) = (self.width(at), &self.slice.answered);
        let rows = Registers::new(&mut self.numbers, self.widths, self.rows).take(at);
        // Rows move forward, past rows that have moved.
        for (to, from) in answered.iter().enumerate() {
            rows.copy_within(from * width..(from + 1) * width, to * width);
        }
        self.rows = answered.len();
    }

    /// A chunk is a run: the rows of one sequence that go to one page.
    pub(super) fn place(&mut self, op: &Place) {
        let (pool, isa, weights, slice) = (self.pool, self.isa, self.weights, self.slice);
        let layer = self.kv.layer(op.layer).clone();
        let widths = [Register::Query, op.keys, op.values].map(|register| self.width(register));
        let (ends, picks) = (&slice.runs.ends, &slice.pages[layer.group]);
        let Self { numbers, kv, scratch, .. } = self;
        let [queries, keys, values] = match numbers.get_disjoint_mut([
            Register::Query as usize,
            op.keys as usize,
            op.values as usize,
        ]) {
            Ok(registers) => registers,
            Err(error) => panic!("keys and values share a register: {error}"),
        };
        let ropes = &scratch.ropes;
        let queries = Blocks::new(queries, widths[0], ends, widths[0]);
        let keys = Blocks::new(keys, widths[1], ends, widths[1]);
        let values = Blocks::new(values, widths[2], ends, widths[2]);
        let parts = Both::new(Both::new(queries, keys), Both::new(values, kv.pages_mut(op.layer, picks)));
        pool.over(parts, |run, ((mut queries, mut keys), (mut values, page)), _| {
            for (i, row) in slice.runs.rows(run).enumerate() {
                for turn in &op.turns {
                    let at = match turn.at() {
                        Register::Query => queries.row(i),
                        at if at == op.keys => keys.row(i),
                        _ => values.row(i),
                    };
                    match turn {
                        Turn::Norm { norm, .. } => {
                            rms_norm_in_place(isa, weights.vector(norm.weight), norm.epsilon, at);
                        }
                        Turn::Rope { head_dim, rope: id, .. } => {
                            let (pairs, turns) = ropes.of(id.0, row);
                            rope(isa, pairs, turns, *head_dim, at);
                        }
                    }
                }
                let slot = slice.positions[row] % PAGE_TOKENS;
                layer.form.append(isa, page, slot, keys.row(i), values.row(i));
            }
        });
    }
}
