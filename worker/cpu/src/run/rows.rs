//! What is done row by row.

use std::sync::PoisonError;

use hearth_kernels::elementwise::{
    activate, add, gate, normalize, normalize_in_place, rope, scale, soft_cap,
};
use hearth_kernels::linear::gather_row;
use hearth_kernels::pool::{Blocks, Both, Chunks};
use hearth_program::PAGE_TOKENS;
use hearth_program::arch::{Activation, Norm, Register, RopeId, TableRows, WeightId};

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

    pub(super) fn add_rows(&mut self, table: WeightId, rows: TableRows, out: Register) {
        let (pool, isa, width, slice) = (self.pool, self.isa, self.width(out), self.slice);
        let (matrix, buffers) = (self.weights.matrix(table), &self.scratch.rows);
        let out = Registers::new(&mut self.numbers, self.widths, self.rows).take(out);
        pool.over(Chunks::new(out, ROWS_AT_ONCE * width), |chunk, out, thread| {
            let mut buffer = buffers[thread].lock().unwrap_or_else(PoisonError::into_inner);
            let positions = &slice.positions[chunk * ROWS_AT_ONCE..];
            for (out, position) in out.chunks_exact_mut(width).zip(positions) {
                let row = match rows {
                    TableRows::Position => *position,
                    TableRows::Only(row) => row,
                };
                gather_row(&matrix, row, &mut buffer[..width]);
                add(isa, &buffer[..width], out);
            }
        });
    }

    pub(super) fn norm(&mut self, input: Register, norm: &Norm, out: Register) {
        let (pool, isa, width) = (self.pool, self.isa, self.width(out));
        let norm = self.weights.norm(norm);
        let piece = ROWS_AT_ONCE * width;
        let mut registers = Registers::new(&mut self.numbers, self.widths, self.rows);
        let to = Chunks::new(registers.take(out), piece);
        if input == out {
            pool.over(to, |_, rows, _| normalize_in_place(isa, &norm, rows));
        } else {
            let from = &*registers.take(input);
            pool.over(to, |chunk, rows, _| {
                normalize(isa, &norm, &from[chunk * piece..][..rows.len()], rows);
            });
        }
    }

    pub(super) fn gate(&mut self, activation: Activation, of: Register, out: Register) {
        let isa = self.isa;
        self.zip(of, out, |of, out| gate(isa, activation, of, out));
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
            Map::Activate(activation) => activate(isa, activation, rows),
        });
    }

    pub(super) fn rope(&mut self, at: Register, head_dim: usize, id: RopeId) {
        let (pool, isa, width, ropes) = (self.pool, self.isa, self.width(at), &self.scratch.ropes);
        let rows = Registers::new(&mut self.numbers, self.widths, self.rows).take(at);
        pool.over(Chunks::new(rows, ROWS_AT_ONCE * width), |chunk, rows, _| {
            for (row, heads) in (chunk * ROWS_AT_ONCE..).zip(rows.chunks_exact_mut(width)) {
                let (pairs, turns) = ropes.of(id.0, row);
                rope(isa, pairs, turns, head_dim, heads);
            }
        });
    }

    fn zip(&mut self, input: Register, out: Register, with: impl Fn(&[f32], &mut [f32]) + Sync) {
        let (pool, width) = (self.pool, self.width(out));
        let piece = ROWS_AT_ONCE * width;
        let mut registers = Registers::new(&mut self.numbers, self.widths, self.rows);
        let (from, to) = (&*registers.take(input), registers.take(out));
        pool.over(Chunks::new(to, piece), |chunk, to, _| with(&from[chunk * piece..][..to.len()], to));
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
                            normalize_in_place(isa, &weights.norm(norm), at);
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
